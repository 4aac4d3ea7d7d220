"""``sinks.toml`` names every function and setter of Chromium that may take an address."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.kit.browser_gates import place
from zenzefi.demo import running_demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

TABLE = tomllib.loads((Path(__file__).parent / "sinks.toml").read_text(encoding="utf-8"))["group"]

# Before the runtime script: every member of every interface, to be compared afterwards.
_NOTE = """
const members = globalThis.__members = new Map();
const note = (name, holder) => {
  for (const key of Object.getOwnPropertyNames(holder)) {
    members.set(`${name}.${key}`, [holder, key, Object.getOwnPropertyDescriptor(holder, key)]);
  }
};
for (const name of Object.getOwnPropertyNames(globalThis)) {
  const { value } = Object.getOwnPropertyDescriptor(globalThis, name);
  if (typeof value !== 'function' || !/^[A-Z]/.test(name)) continue;
  members.set(`${name}.new`, [globalThis, name, Object.getOwnPropertyDescriptor(globalThis, name)]);
  note(name, value);
  if (value.prototype) note(name, value.prototype);
}
note('Window', globalThis);
"""
_COMPARE = """
() => [...__members].filter(([name]) => !/\\.(prototype|length|name|constructor)$/.test(name)
    && !/^Window\\.[A-Z_]/.test(name)).map(([name, [holder, key, before]]) => {
  const now = Object.getOwnPropertyDescriptor(holder, key) ?? {};
  const changed = ['value', 'get', 'set'].some(
    part => typeof before[part] === 'function' && before[part] !== now[part]);
  return [name, Boolean(before.set) || typeof before.value === 'function', changed];
})
"""

# Interfaces of graphics, sound, devices, storage and text, and the objects of the language.
_OTHER_SUBJECTS = re.compile(
    r"(WebGL|GPU|RTC|XR|IDB|USB|HID|MIDI|Serial|Audio|Media(?!Metadata|Session|List)|Canvas"
    r"|Offscreen|SVG\w*List\.|SVG(Animated(?!String)|Text|Transform)|Intl|WebAssembly|\w*Stream"
    r"|File|Blob|Subtle|PublicKey|Authenticator|Crypto|\w*Array\.|Object\.|Number\.|Date\."
    r"|RegExp\.|Function\.|\w*Map\.(?!set|append)|Finalization|Analyser|Base|Video(?!F))"
    r"|\w*Event\.|\w*Entry\."
)
_READS = re.compile(
    r"on[a-z]|aria|(get|has|is|remove|delete|request(?!Window)|clear)[A-Z]"
    r"|webkitRequest|decode|encode|escape"
)
_TAKES = re.compile(
    r"(?i)(ur[il](?!y)|href|src$|srcset|srcdoc|html|css|style|navigat|location|import|fetch(?!P)"
    r"|worker|module|manifest|redirect|parse|insert|^append|prepend|^replace|adjacent|action|cite"
    r"|poster|^ping|rule|selector|matches|closest|attribute|cookie|^open|register|keyframe|animate"
    r"|^text$|^data$|nodeValue|textContent|(inner|outer)Text|^write|^text|^base|eval"
    r"|^add(All|From)|^send|sheet|CDATA|Document$|execCommand|assign|longDesc|background|^code"
    r"|icon|requestWindow|setHTML|createContextual|submit|createObject|transformTo|frames"
    r"|content(Window|Document)|^(before|after)$|moveBefore|importNode|adoptNode)"
)
_CONSTRUCTORS = re.compile(
    r"(Worker|Request|Socket|EventSource|Transport|Notification|Metadata|FontFace|StyleSheet"
    r"|Audio|Image|^URL|Config|Presentation|Payment|Effect|Processor|Grammar)\.new$"
)


def may_take_an_address(name: str) -> bool:
    """Judged by the name, with a margin: the table has the others as ``unchanged``."""
    interface, member = name.split(".", 1)
    if member == "new":
        return _CONSTRUCTORS.search(name) is not None
    is_other = _OTHER_SUBJECTS.match(name) or _READS.match(member)
    return not is_other and _TAKES.search(member) is not None and interface != "String"


def named(*handling: str) -> set[str]:
    return {
        f"{interface}.{member}"
        for group in TABLE
        if group["handling"] in handling
        for interface, members in group["members"].items()
        for member in members.split()
    }


async def test_the_table_has_every_sink_of_this_browser(chromium: Browser, tmp_path: Path) -> None:
    async with running_demo() as origin, place("prefix", origin, tmp_path) as at:
        context = await at.open(chromium)
        page = await context.new_page()
        await page.add_init_script(f"{{ {_NOTE} }}")
        await page.goto(f"{at.root}sinks/quiet")
        found = await page.evaluate(_COMPARE)
        await context.close()
    present = {name for name, _, _ in found}
    wrapped = {name for name, _, changed in found if changed} - {"Function.toString"}
    candidates = {name for name, takes, _ in found if takes and may_take_an_address(name)}
    assert len(present) > 5000
    assert sorted(wrapped - named("wrapped")) == []
    assert sorted(named("wrapped") & present - wrapped) == []
    known = named("wrapped", "elsewhere", "unchanged")
    assert sorted(candidates - known) == [], "decide, and add them to sinks.toml"


def test_each_sink_is_in_one_group_which_gives_the_reason() -> None:
    assert all(group["reason"] for group in TABLE)
    assert {group["handling"] for group in TABLE} == {"wrapped", "elsewhere", "unchanged"}
    lists = [
        f"{interface}.{member}"
        for group in TABLE
        for interface, members in group["members"].items()
        for member in members.split()
    ]
    assert len(lists) == len(set(lists))


@pytest.mark.parametrize(
    ("name", "takes"),
    [
        ("HTMLNewElement.src", True),
        ("NewWorker.new", True),
        ("Element.setMarkupUrl", True),
        ("Window.fetchSoon", True),
        ("Element.getAttribute", False),
        ("WebGLRenderingContext.texImage2D", False),
        ("Window.onfetch", False),
    ],
)
def test_a_new_sink_is_found_by_its_name(name: str, takes: bool) -> None:
    assert may_take_an_address(name) == takes

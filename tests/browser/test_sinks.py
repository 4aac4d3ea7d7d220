"""Every way in which a script names an address, on its own page of the demo site."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urljoin

import pytest
from playwright.async_api import Browser, Page

from tests.kit.browser_gates import Place, place
from tests.kit.chromium import watch
from zenzefi.demo import running_demo
from zenzefi.demo.sinks import SINKS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

EXPECTED_COMPLAINTS = {
    "csp": "Content Security Policy",
    "trusted-types": "requires 'TrustedHTML'",
}
"""Errors that a check causes on purpose."""


async def final_title(page: Page, seconds: float = 60) -> str:
    """The result of the check; read from outside, since a policy may forbid eval."""
    for _ in range(int(seconds / 0.05)):
        title = await page.title()
        if title != "running":
            return title
        await asyncio.sleep(0.05)
    return "no result"


async def run_sinks(
    chromium: Browser, at: Place, names: list[str], query: str = ""
) -> dict[str, object]:
    """Open each check in its own profile; what came out other than well, by name."""
    failures: dict[str, object] = {}
    few = asyncio.Semaphore(3)

    async def run(name: str) -> None:
        context = await at.open(chromium)
        page = await context.new_page()
        seen = watch(page)
        await page.goto(f"{at.root}sinks/{name}{query}")
        title = await final_title(page)
        complaints = [
            error
            for error in seen.errors
            if name not in EXPECTED_COMPLAINTS or EXPECTED_COMPLAINTS[name] not in error
        ]
        outside = seen.outside(at.root)
        if title != "ok" or outside or complaints:
            failures[name] = {"title": title, "outside": outside, "complaints": complaints}
        await context.close()

    async def in_turn(name: str) -> None:
        async with few:
            await run(name)

    await asyncio.gather(*map(in_turn, names))
    return failures


async def test_every_check_holds_without_a_gate(chromium: Browser) -> None:
    async with running_demo() as origin:
        assert await run_sinks(chromium, Place(f"{origin}/"), SINKS) == {}


async def lasting_strays(chromium: Browser, at: Place) -> list[str]:
    """Unmounted requests that occur again when all checks run a second time.

    Chromium now and then runs a classic worker's first ``importScripts`` past the runtime (about
    once in ten walks on a loaded machine, docs/runtime.md): the 307 recovers it. What leaks by a
    fault of ours leaks every time.
    """
    first = at.unmounted_requests()
    if not first:
        return []
    at.forget_strays()
    assert await run_sinks(chromium, at, SINKS) == {}
    return sorted(set(first) & set(at.unmounted_requests()))


async def lasting_failures(chromium: Browser, at: Place) -> dict[str, object]:
    """All failed checks, except the one that :func:`lasting_strays` describes.

    The browser sees it too where a page is a service worker's: the demo's classic worker requests
    ``knots.js`` outside the mount. Such a check, and no other, has to hold when it is opened again.
    """
    failures = await run_sinks(chromium, at, SINKS)
    slip = {"title": "ok", "outside": [urljoin(at.root, "/static/js/knots.js")], "complaints": []}
    slipped = [name for name, failure in failures.items() if failure == slip]
    rest = {name: failure for name, failure in failures.items() if name not in slipped}
    return rest | await run_sinks(chromium, at, slipped)


@pytest.mark.parametrize("address", ["mount", "upstream"])
async def test_every_check_holds_under_the_prefix_and_nothing_leaves_it(
    chromium: Browser, tmp_path: Path, address: str
) -> None:
    options = {"html": {"address": address}}
    async with running_demo() as origin, place("prefix", origin, tmp_path, options) as at:
        assert await lasting_failures(chromium, at) == {}
        assert await lasting_strays(chromium, at) == []


async def test_workers_hold_where_browsers_do_not_say_what_a_script_is_for(
    chromium: Browser, tmp_path: Path
) -> None:
    async with running_demo() as origin, place("insecure", origin, tmp_path) as at:
        assert await run_sinks(chromium, at, ["worker", "worker-blob", "fetch"]) == {}
        assert at.unmounted_requests() == []


async def test_every_check_holds_at_an_own_origin(chromium: Browser, tmp_path: Path) -> None:
    """The pages name the upstream's origin in a link, and their scripts compute its addresses."""
    async with running_demo() as origin, place("own", origin, tmp_path) as at:
        assert await run_sinks(chromium, at, SINKS) == {}


_SHAPES = """
() => {
  const shapes = {};
  const text = Function.prototype.toString;
  const chain = value => Object.getPrototypeOf(value)?.constructor?.name;
  const shape = value => typeof value === 'function'
    ? [value.name, value.length, text.call(value), `${value}`, chain(value),
       Object.isExtensible(value), Object.getOwnPropertyNames(value).join(),
       value.prototype?.constructor === value]
    : typeof value;
  const note = (path, holder) => {
    for (const key of Reflect.ownKeys(holder)) {
      const { value, get, set, ...flags } = Object.getOwnPropertyDescriptor(holder, key);
      shapes[`${path}.${String(key)}`] = JSON.stringify(
        [flags, get && shape(get), set && shape(set), value && shape(value)]);
    }
  };
  for (const name of Object.getOwnPropertyNames(globalThis).sort()) {
    const value = Object.getOwnPropertyDescriptor(globalThis, name).value;
    if (typeof value !== 'function') continue;
    shapes[name] = JSON.stringify(shape(value));
    note(name, value);
    if (value.prototype) note(`${name}.prototype`, value.prototype);
  }
  return shapes;
}
"""
"""Everything that a script can see of each function of the platform without calling it."""

_IN_A_WORKER = """
shapes => new Promise(resolve => {
  const blob = new Blob([`postMessage((${shapes})())`], { type: 'text/javascript' });
  const worker = new Worker(URL.createObjectURL(blob));
  worker.onmessage = event => resolve(event.data);
})
"""


async def test_nothing_that_is_wrapped_looks_any_different(
    chromium: Browser, tmp_path: Path
) -> None:
    async def shapes(at: Place) -> tuple[dict[str, str], dict[str, str]]:
        context = await at.open(chromium)
        page = await context.new_page()
        await page.goto(f"{at.root}sinks/quiet")
        seen = await page.evaluate(_SHAPES), await page.evaluate(_IN_A_WORKER, _SHAPES)
        await context.close()
        return seen

    options = {"html": {"address": "upstream"}}
    async with running_demo() as origin, place("prefix", origin, tmp_path, options) as at:
        plain, wrapped = await shapes(Place(f"{origin}/")), await shapes(at)
    added = {"CSSStyleDeclaration.prototype"}  # where CSSOM has the properties of a style
    for before, after in zip(plain, wrapped, strict=True):
        assert len(before) > 1000
        assert {
            name: (before[name], after.get(name))
            for name in before
            if before[name] != after.get(name)
        } == {}
        assert {name.rpartition(".")[0] for name in set(after) - set(before)} <= added
        added = set()  # a worker has no styles


_IMAGE_PROPERTIES = """
() => Object.getOwnPropertyNames(document.createElement('p').style).filter(name => {
  const dashed = name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)
    .replace(/^webkit/, '-webkit');
  const values = ['url(x)', 'url(x) 1', 'url(x), auto', 'url(x) 1 2 3', 'image-set(url(x) 1x)'];
  return values.some(value => CSS.supports(dashed, value))
    && !Object.hasOwn(CSSStyleDeclaration.prototype, name);
})
"""
"""Style properties that accept an address and that the runtime script does not map."""


async def test_every_style_property_that_accepts_an_address_is_mapped(
    chromium: Browser, tmp_path: Path
) -> None:
    async with running_demo() as origin, place("prefix", origin, tmp_path) as at:
        context = await at.open(chromium)
        page = await context.new_page()
        await page.goto(f"{origin}/sinks/quiet")
        assert len(await page.evaluate(_IMAGE_PROPERTIES)) > 20
        await page.goto(f"{at.root}sinks/quiet")
        assert await page.evaluate(_IMAGE_PROPERTIES) == []
        await context.close()

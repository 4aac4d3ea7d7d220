"""Two ways for routers that read ``location.pathname``, on real builds: what passes, at what cost.

Run it with ``python -m tests.apps.compare_routers`` once ``make apps`` has installed the builds. It
prints the table of ``docs/adr/0012-address-bar-for-pathname-routers.md``. The gate has only the
first way (``address="upstream"``); the second lives here, as the experiment that it was.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from tests.kit.applications import APPS, built_app, shop, walked
from tests.kit.browser_gates import Place, place
from tests.kit.chromium import CHROMIUM, FLAGS
from zenzefi.plugins import Context, Edit, Match, Needs, Plugin, Scanner, Token
from zenzefi.plugins_testing import engine_for, exchange
from zenzefi.proxy import setup as proxy_setup
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.settings import Settings

WAYS = ("none", "address bar", "location edits")

_OTHER = rb"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
_LOCATION = re.compile(rb"(?s)" + _OTHER + rb"|(?<![\w$])(location)(?![\w$])")


def location_edits(source: bytes) -> Iterable[Edit]:
    """Other names for the token, where it may be the browser's: a property, or a global."""
    for found in _LOCATION.finditer(source):
        if found[1] is None:
            continue
        start, end = found.span(1)
        before = source[max(0, start - 20) : start].rstrip()
        after = source[end : end + 20].lstrip()
        if before.endswith((b"get", b"set", b"static")):
            continue  # an accessor of the application with that name
        is_property = before.endswith(b".") and not before.endswith(b"..")
        is_key = after.startswith(b":") or (before[-1:] in b"{," and after[:1] in b",}")
        if is_property or not is_key:
            yield Edit(start, end, b"zl$location")


class _Whole:
    """Looks at the script when all of it is there: enough for an experiment."""

    def scan(self, window: bytes, final: bool) -> tuple[int, list[Edit]]:
        return (len(window), list(location_edits(window))) if final else (0, [])


class LocationEdits(Plugin):
    """Span edits on the token ``location`` in scripts."""

    name = "location-edits"
    matches = Match(content_types=("text/javascript",))
    needs = Needs.CHUNKS

    def scanner(self, context: Context) -> Scanner:
        """A new reader for every script."""
        return _Whole()


_SHIM = b"""<script>(() => {
const mount = '/api/v1/proxy', real = window.location;
const strip = text => text.replace(real.origin + mount, real.origin);
const own = {
  get pathname() { return real.pathname.slice(mount.length) || '/'; },
  get href() { return strip(real.href); }, set href(value) { real.href = value; },
  toString() { return strip(real.href); },
};
const shown = new Proxy(own, {
  get: (target, name) => name in target ? target[name]
    : typeof real[name] === 'function' ? real[name].bind(real) : real[name],
  set: (target, name, value) => Reflect.set(name in target ? target : real, name, value),
});
Object.defineProperty(Object.prototype, 'zl$location', {
  configurable: true,
  get() { return this === window || this === document ? shown : this.location; },
  set(value) { this.location = value; },
});
})()</script>"""


class LocationShim(Plugin):
    """The object that the edited scripts use instead of ``location``."""

    name = "location-shim"
    matches = Match(content_types=("text/html",))
    needs = Needs.TOKENS
    tags = ("head",)
    after = ("html",)

    def token(self, context: Context, token: Token) -> Edit:
        """After the runtime."""
        return token.after(_SHIM)


@asynccontextmanager
async def gate_with(way: str, upstream: str, folder: Path) -> AsyncIterator[Place]:
    """The gate under its prefix, with one of the ways."""
    if way != "location edits":
        address = "upstream" if way == "address bar" else "mount"
        async with place("prefix", upstream, folder, {"html": {"address": address}}) as at:
            yield at
        return
    kept = proxy_setup.build_engine

    def build(settings: Settings) -> Engine:
        return Engine(
            Registry(
                [bundled("plugins")], entry_points=False, classes=[LocationEdits, LocationShim]
            )
        )

    proxy_setup.build_engine = build
    try:
        async with place("prefix", upstream, folder, {"html": {}}) as at:
            yield at
    finally:
        proxy_setup.build_engine = kept


async def one(chromium: Browser, app: str, way: str, folder: Path) -> str:
    """A row of the table."""
    async with built_app(app) as upstream:
        expected, _, _ = await walked(chromium, Place(f"{upstream}/"), shop)
        async with gate_with(way, upstream, folder) as at:
            try:
                texts, outside, errors = await walked(chromium, at, shop)
            except Exception as error:
                return f"fails: {str(error).splitlines()[0]}"
            same = "same" if texts == expected else "differs"
            return f"{same}, {len(outside)} outside, {len(errors)} errors"


def scripts(app: str) -> tuple[int, int, int, int, float]:
    """(scripts, changed ones, edits, bytes, MB/s of the edits) of a build."""
    count = changed = edits = size = 0
    spent = 0.0
    for path in sorted((APPS / "node/dist" / app / "assets").glob("*.js")):
        source = path.read_bytes()
        engine, entry = engine_for(LocationEdits)
        rewrite = engine.plan(exchange(headers={"Content-Type": "text/javascript"}))
        assert rewrite is not None
        start = time.process_time()
        out = rewrite.feed(source) + rewrite.finish()
        spent += time.process_time() - start
        count, changed = count + 1, changed + (out != source)
        edits, size = edits + entry.statistics.edits, size + len(source)
    return count, changed, edits, size, size / 1e6 / max(spent, 1e-9)


async def main() -> None:
    """Walk every build by every way and print what came of it."""
    print("| build | " + " | ".join(WAYS) + " | scripts changed by edits | edits | MB/s |")
    print("|---" * (len(WAYS) + 4) + "|")
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for app in ("react", "vue", "angular"):
            cells = []
            for way in WAYS:
                with tempfile.TemporaryDirectory() as folder:
                    cells.append(await one(chromium, app, way, Path(folder)))
            count, changed, edits, _, speed = scripts(app)
            rest = f"{changed} of {count} | {edits} | {speed:.0f}"
            print(f"| {app} | {' | '.join(cells)} | {rest} |", flush=True)
        await chromium.close()


if __name__ == "__main__":
    asyncio.run(main())

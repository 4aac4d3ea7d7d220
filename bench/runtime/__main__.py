"""Measure the runtime script in Chromium: ``python -m bench.runtime [--quick]``.

One page has the runtime script, the other one does not; both belong to one server. They are
measured in turn, and the best of all rounds counts, so that other load on the machine matters
least. The ratio is how many times as long an operation takes with the script. Writes
``docs/benchmarks/runtime.md``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import sys
from pathlib import Path

from aiohttp import web
from playwright.async_api import Browser, Page, async_playwright

from bench import machine
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.rewriting.runtime import RUNTIME_PATH, runtime_source, runtime_tag

HERE = Path(__file__).resolve().parent
REPORT = HERE.parents[1] / "docs" / "benchmarks" / "runtime.md"
PREFIX = "/api/v1/proxy"
UPSTREAM = Origin("http", "upstream.example", 8000)
_PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser")


def _page(tag: bytes) -> bytes:
    script = (HERE / "operations.js").read_bytes()
    return b"<!doctype html><head>%s<title>x</title><body><script>%s</script>" % (tag, script)


async def _serve() -> tuple[web.AppRunner, str]:
    """A server with both pages."""
    app = web.Application()
    runner = web.AppRunner(app)

    async def plain(request: web.Request) -> web.Response:
        return web.Response(body=_page(b""), content_type="text/html")

    async def mounted(request: web.Request) -> web.Response:
        host, _, port = request.host.partition(":")
        mount = Mount(MountKind.PREFIX, Origin("http", host, int(port)), PREFIX)
        return web.Response(body=_page(runtime_tag(mount, [UPSTREAM])), content_type="text/html")

    async def script(request: web.Request) -> web.Response:
        return web.Response(body=runtime_source(), content_type="text/javascript")

    app.router.add_get("/plain", plain)
    app.router.add_get(f"{PREFIX}/page", mounted)
    app.router.add_get(PREFIX + RUNTIME_PATH, script)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


async def _open(browser: Browser, url: str) -> Page:
    page = await browser.new_page()
    await page.goto(url)
    await page.evaluate("() => { globalThis.made = operations(); }")
    return page


async def ratios(rounds: int) -> tuple[dict[str, tuple[float, float]], str]:
    """Operation -> (nanoseconds without and with the script); and the browser's version."""
    runner, root = await _serve()
    samples: dict[str, list[tuple[float, float]]] = {}
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _PROGRAMS)), None)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        version = browser.version
        pages = [await _open(browser, root + path) for path in ("/plain", f"{PREFIX}/page")]
        for _ in range(rounds):
            plain, wrapped = [await page.evaluate("() => measure(made)") for page in pages]
            for name in plain:
                samples.setdefault(name, []).append((plain[name], wrapped[name]))
        await browser.close()
    await runner.cleanup()
    return {
        name: (min(before for before, _ in pairs), min(after for _, after in pairs))
        for name, pairs in samples.items()
    }, version


def report(found: dict[str, tuple[float, float]], version: str) -> str:
    """The table as Markdown."""
    lines = [
        "# The runtime script in a browser",
        "",
        f"Chromium {version}, {platform.machine()}, {os.cpu_count()} processors. The ratio says how"
        " many times as long the operation takes",
        "with [the runtime script](../runtime.md), which is used under a prefix only."
        " Made by `python -m bench.runtime`.",
        "",
        "| operation | without the script | ratio |",
        "|---|---|---|",
    ]
    for name, (before, after) in found.items():
        lines.append(f"| `{name}` | {before:,.0f} ns | {after / before:.1f} |")
    return "\n".join(lines) + "\n"


def main(load_before: float | None = None) -> int:
    """Measure, print, and write the report; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.runtime", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds; print, write no file")
    parser.add_argument("--force", action="store_true", help="also on a busy machine; print only")
    options, _ = parser.parse_known_args()  # the others belong to bench.proxy
    before = machine.load() if load_before is None else load_before
    refused = machine.refusal(before, force=options.quick or options.force)
    if refused:
        print(refused, file=sys.stderr)
        return 2
    found, version = asyncio.run(ratios(2 if options.quick else 7))
    text = report(found, version)
    print(text)
    if not options.quick and not options.force:
        REPORT.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Measure which pages a document of the same origin can read through windows (ADR 0016).

    python -m scripts.measure_opener_policies chromium firefox-esr

For each browser the script serves documents with every ``Cross-Origin-Opener-Policy`` that a
hostile application could choose. Each document tries two attacks: it opens a blank window and
navigates it to a page, and it navigates itself to the page while a blank window that it opened
watches. The page has one policy, or is reached by a redirect with another one. The script prints
which pages could be read. No request leaves this machine.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from itertools import product
from pathlib import Path

from aiohttp import web

CHOICES = ("unsafe-none", "same-origin", "same-origin-allow-popups", "noopener-allow-popups")
PAGES = ("same-origin", "noopener-allow-popups", "same-origin > noopener-allow-popups")
ATTACKS = ("sent", "opener")
_DRIVER = """<!doctype html><title>driver</title><script>
(async () => {
  for (const [attack, choice, page] of %s) {
    const from = `/attack?${new URLSearchParams({ attack, choice, page })}`;
    const w = open(from, '_blank', 'noopener');
    await fetch('/wait?' + new URLSearchParams({ attack, choice, page }));
  }
  await fetch('/done');
})();
</script>"""
_ATTACK = """<!doctype html><title>attack</title><script>
const given = new URLSearchParams(location.search);
const target = '/page?' + new URLSearchParams({ page: given.get('page') });
const report = '/report?' + given;
const source = `
  const pause = ms => new Promise(done => setTimeout(done, ms));
  const watch = async (w, report) => {
    for (let left = 120; left; left--, await pause(15)) {
      let found = '';
      try { found = w.document.getElementById('secret')?.textContent ?? ''; } catch {}
      if (found) { await fetch(report + '&found=yes'); return; }
    }
    await fetch(report + '&found=no');
  };`;
const w = open('', 'x');
if (given.get('attack') === 'sent') {
  w.location.href = location.origin + target;
  eval(source + 'watch(w, report)');
} else {
  w.eval(source + `watch(opener, ${JSON.stringify(location.origin + report)})`);
  setTimeout(() => location.href = target, 100);
}
</script>"""
_FIREFOX = """
user_pref("dom.disable_open_during_load", false);
user_pref("dom.popup_maximum", 200);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("toolkit.telemetry.reportingpolicy.firstRun", false);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("app.update.auto", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
"""
_CHROMIUM = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-popup-blocking",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)


class Measurement:
    """The pages that the documents could read in one browser."""

    def __init__(self) -> None:
        self.agent = ""
        self.done = asyncio.Event()
        self.found: dict[tuple[str, str, str], asyncio.Future[str]] = {}

    def _result(self, request: web.Request) -> asyncio.Future[str]:
        query = request.query
        key = (query["attack"], query["choice"], query["page"])
        return self.found.setdefault(key, asyncio.get_running_loop().create_future())

    async def driver(self, request: web.Request) -> web.Response:
        """The document that runs the attacks one after the other."""
        self.agent = request.headers.get("User-Agent", "")
        every = json.dumps(list(product(ATTACKS, CHOICES, PAGES)))
        return web.Response(text=_DRIVER % every, content_type="text/html")

    async def attack(self, request: web.Request) -> web.Response:
        """A document of the application with its policy."""
        policy = {"Cross-Origin-Opener-Policy": request.query["choice"]}
        return web.Response(text=_ATTACK, content_type="text/html", headers=policy)

    async def page(self, request: web.Request) -> web.Response:
        """A page of the gate, or the redirect to it."""
        first, _, second = request.query["page"].partition(" > ")
        policy = {"Cross-Origin-Opener-Policy": first}
        if second:
            target = str(request.url.with_query(page=second).relative())
            return web.Response(status=303, headers={**policy, "Location": target})
        text = "<!doctype html><p id=secret>secret</p>"
        return web.Response(text=text, content_type="text/html", headers=policy)

    async def report(self, request: web.Request) -> web.Response:
        """Record the result of an attack."""
        result = self._result(request)
        if not result.done():
            result.set_result(request.query["found"])
        return web.Response()

    async def wait(self, request: web.Request) -> web.Response:
        """Respond when the attack has ended."""
        result = self._result(request)
        try:
            await asyncio.wait_for(asyncio.shield(result), 8)
        except TimeoutError:
            result.set_result("no")  # the page was not read in time
        return web.Response()

    async def finish(self, _: web.Request) -> web.Response:
        """All attacks have ended."""
        self.done.set()
        return web.Response()


async def measure(browser: str) -> Measurement:
    """Run one browser through all attacks."""
    found = Measurement()
    app = web.Application()
    for path, handler in (
        ("/", found.driver),
        ("/attack", found.attack),
        ("/page", found.page),
        ("/report", found.report),
        ("/wait", found.wait),
        ("/done", found.finish),
    ):
        app.router.add_get(path, handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if "firefox" in browser:
            (Path(folder) / "user.js").write_text(_FIREFOX)
            command = [browser, "--headless", "--no-remote", "--profile", folder]
        else:
            command = [browser, *_CHROMIUM, f"--user-data-dir={folder}"]
        process = await asyncio.create_subprocess_exec(
            *command,
            f"http://127.0.0.1:{runner.addresses[0][1]}/",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await asyncio.wait_for(found.done.wait(), 400)
        finally:
            process.terminate()
            await process.wait()
            await runner.cleanup()
    return found


def report(found: Measurement) -> None:
    """Print one table."""
    print(f"\n{found.agent}\n")
    print("| page | attack | " + " | ".join(CHOICES) + " |")
    print("|---|---|" + "---|" * len(CHOICES))
    for page, attack in product(PAGES, ATTACKS):
        row = [found.found[attack, choice, page].result() for choice in CHOICES]
        print(f"| {page} | {attack} | " + " | ".join(row) + " |")


async def main(browsers: list[str]) -> None:
    """Measure each browser that is installed."""
    for browser in browsers:
        if shutil.which(browser) is None:
            print(f"{browser} is not installed")
            continue
        report(await measure(browser))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or ["chromium", "firefox-esr"]))

"""Measure which browsers protect cookies named ``__Host-Http-`` from scripts (ADR 0015).

    python -m scripts.measure_cookies chromium firefox-esr

For each browser and each address the script serves one page. The server sets a cookie with each
prefix. The page's script tries to write the same names, then writes 400 cookies with ``Secure`` and
400 without to evict the server's, and tries again. The cookies that the browser then sends are
printed. No request leaves this machine: the browsers' settings map ``gate.example`` to the loopback
address.
"""

from __future__ import annotations

import asyncio
import shutil
import ssl
import sys
import tempfile
from pathlib import Path

from aiohttp import web

from zenzefi.client.certificate import server_context

PREFIXES = ("__Host-Http-", "__Http-", "__Host-", "")
_PAGE = """<!doctype html><title>measuring</title><script>
(async () => {
  const look = async what => (await fetch('/look?' + what)).text();
  const plant = () => {
    for (const prefix of %r)
      for (const name of ['server', 'script'])
        document.cookie = prefix + name + '=planted; Path=/'
          + (prefix ? '; Secure' : '');
  };
  await look('before');
  plant();
  await look('planted');
  for (let i = 0; i < 400; i++) document.cookie = 'flood' + i + '=x; Path=/; Secure';
  for (let i = 0; i < 400; i++) document.cookie = 'flood' + i + '=x; Path=/';
  await look('flooded');
  plant();
  await look('planted again');
  await fetch('/done');
})();
</script>"""
_FIREFOX = """
user_pref("network.dns.localDomains", "gate.example");
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
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--ignore-certificate-errors",
    "--host-resolver-rules=MAP gate.example 127.0.0.1",
)


class Measurement:
    """One browser at one address."""

    def __init__(self) -> None:
        self.seen: dict[str, dict[str, str]] = {}
        self.agent = ""
        self.done = asyncio.Event()

    async def page(self, request: web.Request) -> web.Response:
        """The page, and the server's cookies."""
        self.agent = request.headers.get("User-Agent", "")
        response = web.Response(text=_PAGE % list(PREFIXES), content_type="text/html")
        for prefix in PREFIXES:
            secure = "; Secure" if prefix else ""
            response.headers.add(
                "Set-Cookie", f"{prefix}server=true; Path=/; HttpOnly; SameSite=Lax{secure}"
            )
        return response

    async def look(self, request: web.Request) -> web.Response:
        """Record the cookies that the browser sends."""
        lines = ";".join(request.headers.getall("Cookie", ()))
        pairs = (part.strip().partition("=") for part in lines.split(";"))
        self.seen[request.query_string.replace("%20", " ")] = {
            name: value for name, _, value in pairs if name.endswith(("server", "script"))
        }
        return web.Response(text="ok")

    async def finish(self, _: web.Request) -> web.Response:
        """The page's script has finished."""
        self.done.set()
        return web.Response(text="ok")


async def measure(browser: str, host: str, tls: ssl.SSLContext | None) -> Measurement:
    """Run one browser on the page at ``host``."""
    found = Measurement()
    app = web.Application()
    app.router.add_get("/", found.page)
    app.router.add_get("/look", found.look)
    app.router.add_get("/done", found.finish)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    url = f"{'https' if tls else 'http'}://{host}:{runner.addresses[0][1]}/"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if "firefox" in browser:
            (Path(folder) / "user.js").write_text(_FIREFOX)
            arguments = ["--headless", "--no-remote", "--profile", folder, url]
        else:
            arguments = [*_CHROMIUM, f"--user-data-dir={folder}", "--remote-debugging-port=0", url]
        process = await asyncio.create_subprocess_exec(
            browser,
            *arguments,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await asyncio.wait_for(found.done.wait(), 60)
        except TimeoutError:
            print(f"{browser} {url}: did not finish")
        finally:
            process.terminate()
            await process.wait()
            await runner.cleanup()
    return found


def report(host: str, found: Measurement) -> None:
    """Print each cookie at each moment: ``true`` from the server, ``planted`` from the script."""
    print(f"\n{host}  {found.agent}")
    moments = list(found.seen)
    print(f"  {'cookie':<22}" + "".join(f"{moment:<16}" for moment in moments))
    for name in [prefix + which for prefix in PREFIXES for which in ("server", "script")]:
        cells = (found.seen[moment].get(name, "-") for moment in moments)
        print(f"  {name:<22}" + "".join(f"{cell:<16}" for cell in cells))


async def main(browsers: list[str]) -> None:
    """Measure every browser at every address."""
    with tempfile.TemporaryDirectory() as folder:
        tls, _ = server_context(Path(folder))
        for browser in filter(shutil.which, browsers):
            for host in ("127.0.0.1", "localhost", "app.localhost", "gate.example"):
                report(f"{browser} http://{host}", await measure(browser, host, None))
            if "firefox" not in browser:  # Firefox would have to trust the certificate
                report(
                    f"{browser} https://gate.example", await measure(browser, "gate.example", tls)
                )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or ["chromium", "firefox-esr"]))

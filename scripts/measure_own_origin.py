"""Measure separate origins in browsers: set-up needed, cookies that cross (ADR 0014).

    python -m scripts.measure_own_origin chromium firefox-esr

For each browser and each pair of origins a real gate runs in front of a small application. A page
of the gate signs the browser in, then navigates below the prefix. The application's page records
its address, tries to read the gate's cookies, and writes cookies for every possible domain. The
cookies that the gate's host then receives are printed. No request leaves this machine: the
browsers' settings map ``*.example`` to the loopback address.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from scripts.measure_cookies import _CHROMIUM, _FIREFOX
from tests.kit.ports import free_port
from zenzefi.app import create_app
from zenzefi.db import migrate
from zenzefi.db.engine import Database
from zenzefi.runtime.drain import GateRunner
from zenzefi.settings import load_settings

NAMES = ("gate.example", "app.gate.example", "app.example")
_GATE_PAGE = """<!doctype html><title>measuring</title><script>
(async () => {
  const call = async (path, body, bearer) => (await fetch('/api/v1' + path, {
    method: 'POST', body: JSON.stringify(body),
    headers: {'Content-Type': 'application/json', Authorization: 'Bearer ' + bearer},
  })).json();
  const who = {email: 'a@example.com', password: 'lamps at four'};
  await call('/auth/register', {...who, username: 'ada'});
  const {access_token} = await call('/auth/login', who);
  const {token} = await call('/tokens/purchase', {duration_hours: 1}, access_token);
  await call('/proxy/authenticate', {token});
  location = '/api/v1/proxy/page?x=1%2F2';
})();
</script>"""
_APPLICATION_PAGE = """<!doctype html><title>measuring</title><script>
(async () => {
  const host = location.hostname, names = host.split('.');
  for (let i = 0; i < names.length; i++) {
    const domain = names.slice(i).join('.');
    document.cookie = 'for_' + domain.replaceAll('.', '_') + '=1; Path=/; Domain=' + domain;
  }
  document.cookie = 'host_only=1; Path=/';
  const socket = new WebSocket(location.origin.replace('http', 'ws') + '/socket');
  const opened = await new Promise(done => {
    socket.onopen = () => done(true);
    socket.onerror = () => done(false);
  });
  await fetch('/seen', {method: 'POST', body: JSON.stringify({
    url: location.href, cookies: document.cookie, opened,
  })});
  location = '%s/measured';
})();
</script>"""


@dataclass
class Case:
    """One gate: its title, its host, and the settings of the application's origin."""

    title: str
    host: str
    settings: dict[str, Any] = field(default_factory=dict)
    on_second_port: bool = False


CASES = (
    Case("another name of the loopback", "127.0.0.1"),
    Case("the same, gate at localhost", "localhost"),
    Case("second port", "127.0.0.1", on_second_port=True),
    Case("second port, public name", "gate.example", on_second_port=True),
    Case("subdomain", "gate.example", {"proxy_host": "app.gate.example"}),
    Case("sibling domain", "gate.example", {"proxy_host": "app.example"}),
)


class Application:
    """The application behind the gate; it records the report of its page."""

    def __init__(self, gate: str) -> None:
        self.gate = gate
        self.report: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        self.done = asyncio.Event()

    async def page(self, request: web.Request) -> web.Response:
        """The page that measures."""
        self.headers = dict(request.headers)
        return web.Response(text=_APPLICATION_PAGE % self.gate, content_type="text/html")

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """A WebSocket that is closed immediately."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close()
        return socket

    async def seen(self, request: web.Request) -> web.Response:
        """Record the report of the page."""
        self.report = json.loads(await request.text())
        return web.Response(text="ok")


@dataclass(frozen=True)
class Found:
    """The result of one browser in one case."""

    url: str = ""
    """The final address; empty if the browser did not reach the application."""
    sees_gate_cookies: bool = False
    """Whether the application or its scripts saw a cookie of the gate."""
    crossed: tuple[str, ...] = ()
    """Cookies of the application's scripts that the gate's host receives."""
    socket_opens: bool = False

    def __str__(self) -> str:
        if not self.url:
            return "did not reach the application"
        return (
            f"ended at {self.url}; the application "
            f"{'SEES' if self.sees_gate_cookies else 'sees none of'} the gate's cookies; of its "
            f"own the gate's host receives {', '.join(self.crossed) or 'none'}; a WebSocket "
            f"{'opens' if self.socket_opens else 'DOES NOT OPEN'}"
        )


async def measure(browser: str, case: Case, folder: Path) -> Found:
    """Run one browser in one case."""
    port, second = free_port(), free_port()
    root = f"http://{case.host}:{port}"
    application = Application(root)
    upstream = web.Application()
    upstream.router.add_get("/page", application.page)
    upstream.router.add_get("/socket", application.socket)
    upstream.router.add_post("/seen", application.seen)
    upstream_runner = web.AppRunner(upstream, access_log=None)
    await upstream_runner.setup()
    await web.TCPSite(upstream_runner, "127.0.0.1", 0).start()
    settings = dict(case.settings)
    if "proxy_host" in settings:
        settings["proxy_host"] += f":{port}"
    if case.on_second_port:
        settings["proxy_port"] = second
    app = create_app(
        load_settings(
            {
                "data_dir": folder / "gate",
                "backend_url": f"http://{case.host}:{port}",
                "zenzefi_target_url": f"http://127.0.0.1:{upstream_runner.addresses[0][1]}",
                "log_level": "ERROR",
                "access_log": False,
                **settings,
            }
        )
    )
    crossed: list[str] = []

    async def begin(_: web.Request) -> web.Response:
        return web.Response(text=_GATE_PAGE, content_type="text/html")

    async def look(request: web.Request) -> web.Response:
        crossed.extend(name for name in request.cookies if "zenzefi" not in name)
        application.done.set()
        return web.Response(text="ok")

    app.router.add_get("/measure", begin)
    app.router.add_get("/measured", look)
    database = Database(f"sqlite+aiosqlite:///{folder / 'gate' / 'zenzefi.sqlite3'}")
    await migrate.ensure(database, automatic=True)
    await database.close()
    runner = GateRunner(app, drain_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    if case.on_second_port:
        await web.TCPSite(runner, "127.0.0.1", second).start()
    try:
        await _visit(browser, folder / "profile", f"{root}/measure", application)
        if not application.report:
            return Found()
        sees = "zenzefi" in application.headers.get("Cookie", "") + application.report["cookies"]
        return Found(
            application.report["url"],
            sees,
            tuple(sorted(set(crossed))),
            application.report["opened"],
        )
    finally:
        await runner.cleanup()
        await upstream_runner.cleanup()


async def _visit(browser: str, profile: Path, url: str, application: Application) -> None:
    if "firefox" in browser:
        local = _FIREFOX.replace('"gate.example"', f'"{",".join(NAMES)}"')
        (profile / "user.js").write_text(local)
        arguments = ["--headless", "--no-remote", "--profile", str(profile), url]
    else:
        rules = ",".join(f"MAP {name} 127.0.0.1" for name in NAMES)
        arguments = [
            *(one for one in _CHROMIUM if "host-resolver" not in one),
            f"--host-resolver-rules={rules}",
            f"--user-data-dir={profile}",
            "--remote-debugging-port=0",
            url,
        ]
    process = await asyncio.create_subprocess_exec(
        browser, *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await asyncio.wait_for(application.done.wait(), 60)
    except TimeoutError:
        print(f"{browser} {url}: did not finish")
    finally:
        process.terminate()
        await process.wait()


async def main(browsers: list[str]) -> None:
    """Measure every browser with every kind of origin."""
    for browser in filter(shutil.which, browsers):
        for case in CASES:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                for name in ("gate", "profile"):
                    (Path(folder) / name).mkdir()
                found = await measure(browser, case, Path(folder))
            print(f"{browser:<12} {case.title:<30} {found}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or ["chromium", "firefox-esr"]))

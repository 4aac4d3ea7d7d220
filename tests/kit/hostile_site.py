"""A hostile application behind the gate, and its attacks, for a real Chromium.

The application responds as the request says: any header, any status, any body. Its
documents are XHTML, so that the runtime is not in them: a hostile application would go round it.
An attack is a script that runs in such a document and returns its loot: what it read of the
account, or an empty string. A test fails when there is loot, not when a header is missing.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

from aiohttp import web
from playwright.async_api import Browser, BrowserContext, Page

from tests.kit.gates import SECRET_KEY
from tests.kit.ports import free_port
from zenzefi.app import create_app
from zenzefi.client.certificate import server_context
from zenzefi.runtime.drain import GateRunner
from zenzefi.settings import load_settings

PASSWORD = "correct horse battery"
PREFIX = "/api/v1/proxy"
Where = Literal["prefix", "port", "own"]

# What every attack uses. `token(window)` is the form token of the page that a window shows, as far
# as this script can read it; `watched(window)` waits for one.
ATTACK_HELPERS = """
const pause = ms => new Promise(done => setTimeout(done, ms));
const token = w => {
  try {
    if (!/^\\/(account|admin|login|register)/.test(w.location.pathname)) return '';
    return w.document.querySelector('input[name=csrf]')?.value ?? '';
  } catch { return ''; }
};
const loot = async (look, ms = 1500) => {
  for (const end = Date.now() + ms; Date.now() < end; await pause(25)) {
    const found = await look();
    if (found) return String(found);
  }
  return '';
};
const watched = (w, ms) => loot(() => token(w), ms);
"""

_DOCUMENT = """<html xmlns="http://www.w3.org/1999/xhtml"><head><title>hostile</title></head>
<body><p id="here">hostile</p><script>//<![CDATA[
%s
//]]></script></body></html>"""


def hostile_application() -> web.Application:
    """Responds with the headers in the query's ``h`` parameters, and its ``body``."""

    async def respond(request: web.Request) -> web.Response:
        pairs = [line.split(":", 1) for line in request.query.getall("h", [])]
        response = web.Response(status=int(request.query.get("status", "200")))
        for name, value in pairs:
            response.headers.add(name, value.strip())
        kind = {".js": "text/javascript", ".svg": "image/svg+xml", ".html": "text/html"}
        suffix = Path(request.path).suffix
        response.content_type = kind.get(suffix, "application/xhtml+xml")
        body = request.query.get("body", "")
        response.text = body if suffix in kind else _DOCUMENT % (ATTACK_HELPERS + body)
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    return app


@dataclass
class Trap:
    """A gate with the hostile application behind it.

    ``gate`` is the gate's origin in the browser, ``mount`` the upstream's root without the slash.
    """

    app: web.Application
    gate: str
    mount: str

    def url(
        self, path: str = "/page", *, body: str = "", headers: Iterable[tuple[str, str]] = ()
    ) -> str:
        """A document of the application's, with these response headers and this script."""
        query = [("h", f"{name}: {value}") for name, value in headers]
        return f"{self.mount}{path}?{urlencode([*query, ('body', body)])}"

    async def visitor(self, chromium: Browser, name: str = "marta", **options: Any) -> Page:
        """A browser whose user is signed in, has a token and has opened the application."""
        context = await self.profile(chromium, **options)
        page = await context.new_page()
        await register(page, name)
        await page.goto("/account/buy?hours=24")
        await page.locator('form[action="/account/buy"] button').click()
        await page.wait_for_url("**/account/tokens/*")
        await page.locator('form[action$="/open"] button').click()
        await page.wait_for_url(lambda url: url.startswith(self.mount))
        return page

    async def profile(self, chromium: Browser, **options: Any) -> BrowserContext:
        """A fresh browser profile."""
        context = await chromium.new_context(
            base_url=self.gate, ignore_https_errors=True, **options
        )
        context.set_default_timeout(20_000)
        return context


async def register(page: Page, name: str) -> None:
    """Make an account and sign in."""
    await page.goto("/register")
    await page.locator("#f-email").fill(f"{name}@example.com")
    await page.locator("#f-username").fill(name)
    await page.locator("#f-password").fill(PASSWORD)
    await page.locator("main form button").click()
    await page.wait_for_url("**/account*")


async def run(page: Page, script: str, *arguments: Any) -> str:
    """The loot of an attack, run in the document that the page shows."""
    found = await page.evaluate(
        "async (args) => {" + ATTACK_HELPERS + script + "}", list(arguments)
    )
    return str(found or "")


@asynccontextmanager
async def trap(
    folder: Path,
    database: str,
    *,
    scheme: str = "http",
    host: str = "127.0.0.1",
    where: Where = "prefix",
    **settings: Any,
) -> AsyncIterator[Trap]:
    """A gate at ``scheme://host`` with the hostile application behind it.

    ``where`` browsers see the application: under the prefix, at a second port, or at
    another host.
    """
    port, second_port = free_port(), free_port()
    gate = f"{scheme}://{host}:{port}"
    mount = gate + PREFIX
    if where == "prefix":
        settings["browser_mount"] = "prefix"
    elif where == "port":
        settings["proxy_port"] = second_port
        mount = f"{scheme}://{host}:{second_port}"
    else:
        name = "app.localhost" if host == "127.0.0.1" else f"app.{host}"
        settings["proxy_host"] = f"{name}:{port}"
        mount = f"{scheme}://{name}:{port}"
    context: ssl.SSLContext | None = None
    if scheme == "https":
        context, _ = server_context(folder / "certificate")
    upstream = web.AppRunner(hostile_application(), access_log=None, shutdown_timeout=0.2)
    await upstream.setup()
    site = web.TCPSite(upstream, "127.0.0.1", 0)
    await site.start()
    app = create_app(
        load_settings(
            {
                "secret_key": SECRET_KEY,
                "data_dir": folder,
                "database_url": database,
                "backend_url": gate,
                "zenzefi_target_url": f"http://127.0.0.1:{site.port}",
                "debug": True,
                **settings,
            }
        )
    )
    runner = GateRunner(app, drain_timeout=0.2)
    await runner.setup()
    try:
        for one in (port, second_port) if where == "port" else (port,):
            await web.TCPSite(runner, "127.0.0.1", one, ssl_context=context).start()
        yield Trap(app, gate, mount)
    finally:
        await runner.cleanup()
        await upstream.cleanup()

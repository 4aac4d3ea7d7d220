"""The real gate in front of an upstream, seen by a browser in each of its mounts.

The access token is kept in memory, as in the tests of the reverse proxy: the subject here is what
a browser makes of a page that came through, not who may have it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aiohttp import web
from playwright.async_api import Browser, BrowserContext, Route
from yarl import URL

from tests.kit.ports import free_port
from tests.kit.proxy_gates import PREFIX, TOKEN, MemoryTokenValidator, proxy_app
from zenzefi.client.agent import Agent
from zenzefi.client.certificate import server_context
from zenzefi.gate_cookies import SEAL, SIGN_IN, is_sealed, stored_name
from zenzefi.proxy import setup as proxy_setup
from zenzefi.proxy.interfaces import SIGN_INS
from zenzefi.proxy.unmounted_requests import UnmountedRequests
from zenzefi.runtime.drain import GateRunner
from zenzefi.settings import SETTINGS, Settings, parse_origin

MountName = Literal["prefix", "own", "port", "client", "insecure"]
MOUNTS: tuple[MountName, ...] = ("prefix", "own", "port", "client")


@dataclass
class Place:
    """Where a browser sees the upstream; ``root`` ends in a slash."""

    root: str
    app: web.Application | None = None
    host: str = ""

    async def open(self, chromium: Browser) -> BrowserContext:
        """A fresh browser profile that may pass the gate."""
        context = await chromium.new_context()
        if self.app is not None and self.host:
            await sign_in(context, self.app, f"http://{self.host}")
        return context

    def unmounted_requests(self) -> list[str]:
        """The requests outside the mount that the gate had to recover.

        Without ``/favicon.ico``: browsers request it where a page names no icon.
        """
        if self.app is None:
            return []
        rows = self.app[proxy_setup.GATE].unmounted_requests.rows()
        return [f"{row.page} asked for {row.path}" for row in rows if row.path != "/favicon.ico"]

    def forget_strays(self) -> None:
        """Reset the counts."""
        if self.app is not None:
            self.app[proxy_setup.GATE].unmounted_requests = UnmountedRequests()


async def sign_in(
    context: BrowserContext, app: web.Application, origin: str, token: str = TOKEN
) -> None:
    """Give this browser profile a sign-in with the token at an origin of the gate."""
    page = await context.new_page()
    agent = await page.evaluate("navigator.userAgent")
    where = parse_origin(origin)
    name = stored_name(SIGN_IN, app[SETTINGS].public_origin, where.host, agent)
    secret = app[SIGN_INS].add(token, agent=agent, is_sealed=is_sealed(name, agent))  # type: ignore[attr-defined]
    secure = "; Secure" if name.startswith(SEAL) else ""
    lines = [f"zenzefi_access_token={token}", f"{name}={secret}{secure}"]
    cookies = "\n".join(f"{line}; Path=/; HttpOnly; SameSite=Lax" for line in lines)

    async def respond(route: Route) -> None:  # a sealed name is taken from a response alone
        await route.fulfill(status=200, content_type="text/html", headers={"Set-Cookie": cookies})

    await page.route("**/*", respond)
    await page.goto(f"{origin}/")
    await page.close()


@contextlib.asynccontextmanager
async def place(
    name: MountName,
    upstream: str,
    folder: Path,
    plugin_options: dict[str, dict[str, Any]] | None = None,
    **settings: Any,
) -> AsyncIterator[Place]:
    """The gate with ``upstream`` behind it, and the place where a browser finds it."""
    port, second = free_port(), free_port()
    insecure = f"gate.example:{port}"  # plain http and not this machine's own name
    if name == "insecure":
        settings["backend_url"] = f"http://{insecure}"
    tokens = MemoryTokenValidator()
    tokens.add(activated=True)
    if name == "port":
        settings["proxy_port"] = second
    if name in ("prefix", "insecure"):
        settings["browser_mount"] = "prefix"
    engine = None  # the one that all tests share, unless this gate has other options
    if plugin_options:
        options = Settings(_env_file=None, debug=True, plugin_options=plugin_options)
        engine = proxy_setup.build_engine(options)
    app = proxy_app(tokens, folder, upstream, port, engine=engine, **settings)
    runner = GateRunner(app, drain_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        if name == "client":
            async with _desktop_client(f"http://127.0.0.1:{port}", folder) as root:
                yield Place(root, app)
        else:
            if name == "port":
                await web.TCPSite(runner, "127.0.0.1", second).start()
            host = {
                "prefix": f"127.0.0.1:{port}",
                "own": f"app.localhost:{port}",
                "port": f"127.0.0.1:{second}",
                "insecure": insecure,
            }[name]
            root = f"http://{host}/" if name in ("own", "port") else f"http://{host}{PREFIX}/"
            yield Place(root, app, host)
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _desktop_client(gate: str, folder: Path) -> AsyncIterator[str]:
    """The real agent, as ``zenzefi connect`` runs it: the upstream at a root on this machine."""
    port = free_port()
    public = URL.build(scheme="https", host="127.0.0.1", port=port)
    agent = Agent(URL(gate), public, TOKEN, "0123456789abcdef0123")
    context, _ = server_context(folder / "agent")
    runner = agent.runner(shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
        yield f"{public}/"
    finally:
        await runner.cleanup()

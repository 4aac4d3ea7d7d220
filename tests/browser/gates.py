"""The real gate in front of an upstream, seen by a browser in each of its mounts.

The access token is kept in memory, as in the tests of the way through: what is tested here is what
a browser makes of a page that came through, not who may have it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aiohttp import ClientSession, DummyCookieJar, WSMsgType, web
from playwright.async_api import Browser, BrowserContext
from yarl import URL

from tests.proxy.conftest import PREFIX, TOKEN, MemoryGatekeeper, gate_app
from zenzefi.config import Settings
from zenzefi.ops.drain import GateRunner
from zenzefi.proxy import setup as proxy_setup
from zenzefi.proxy.strays import StrayTable

MountName = Literal["prefix", "own", "client", "insecure"]
MOUNTS: tuple[MountName, ...] = ("prefix", "own", "client")


@dataclass
class Place:
    """Where a browser sees the upstream; ``root`` ends in a slash."""

    root: str
    app: web.Application | None = None
    cookies: list[dict[str, str]] = field(default_factory=list)

    async def open(self, chromium: Browser) -> BrowserContext:
        """A fresh browser profile that may pass the gate."""
        context = await chromium.new_context()
        if self.cookies:
            await context.add_cookies(self.cookies)  # type: ignore[arg-type]
        return context

    def strays(self) -> list[str]:
        """What the gate had to recover because it was asked for outside the mount.

        Without ``/favicon.ico``: browsers ask for it by themselves where a page names no icon.
        """
        if self.app is None:
            return []
        rows = self.app[proxy_setup.GATE].strays.rows()
        return [f"{row.page} asked for {row.path}" for row in rows if row.path != "/favicon.ico"]

    def forget_strays(self) -> None:
        """Begin to count anew."""
        if self.app is not None:
            self.app[proxy_setup.GATE].strays = StrayTable()


@contextlib.asynccontextmanager
async def place(
    name: MountName,
    upstream: str,
    folder: Path,
    plugin_options: dict[str, dict[str, Any]] | None = None,
    **settings: Any,
) -> AsyncIterator[Place]:
    """The gate with ``upstream`` behind it, and the place where a browser finds it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = f"upstream.localhost:{port}"
    insecure = f"gate.example:{port}"  # plain http and not this machine's own name
    if name == "insecure":
        settings["backend_url"] = f"http://{insecure}"
    gatekeeper = MemoryGatekeeper()
    gatekeeper.add(activated=True)
    if name == "own":
        settings["proxy_host"] = own
    engine = None  # the one that all tests share, unless this gate has other options
    if plugin_options:
        options = Settings(_env_file=None, debug=True, plugin_options=plugin_options)  # type: ignore[call-arg]
        engine = proxy_setup.build_engine(options)
    app = gate_app(gatekeeper, folder, upstream, port, engine=engine, **settings)
    runner = GateRunner(app, drain_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        if name == "client":
            async with _desktop_client(f"http://127.0.0.1:{port}{PREFIX}") as root:
                yield Place(root, app)
        else:
            host = {"prefix": f"127.0.0.1:{port}", "own": own, "insecure": insecure}[name]
            root = f"http://{host}{PREFIX}/" if name != "own" else f"http://{host}/"
            cookie = {"name": "zenzefi_access_token", "value": TOKEN, "url": f"http://{host}/"}
            yield Place(root, app, [cookie])
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _desktop_client(backend: str) -> AsyncIterator[str]:
    """What a desktop client does: serves the upstream at a root of its own on this machine."""
    async with ClientSession(auto_decompress=False, cookie_jar=DummyCookieJar()) as session:

        async def forward(request: web.Request) -> web.StreamResponse:
            headers = request.headers.copy()
            headers.pop("Host", None)
            headers["X-Access-Token"] = TOKEN
            headers["X-Forwarded-Host"] = request.host
            headers["X-Forwarded-Proto"] = "http"
            headers["X-Forwarded-Prefix"] = "/"
            url = URL(backend + request.raw_path, encoded=True)
            if headers.get("Upgrade", "").lower() == "websocket":
                return await _bridge(request, session, url, dict(headers))
            for name in ("Connection", "Transfer-Encoding", "Keep-Alive"):
                headers.popall(name, None)
            body = request.content if request.can_read_body else None
            async with session.request(
                request.method, url, headers=headers, data=body, allow_redirects=False
            ) as answer:
                response = web.StreamResponse(status=answer.status)
                for key, value in answer.headers.items():
                    if key.lower() not in ("connection", "transfer-encoding"):
                        response.headers.add(key, value)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                return response

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,
            shutdown_timeout=0.2,
            handler_cancellation=True,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
        finally:
            await runner.cleanup()


async def _bridge(
    request: web.Request, session: ClientSession, url: URL, headers: dict[str, str]
) -> web.StreamResponse:
    wanted = [p.strip() for p in headers.get("Sec-WebSocket-Protocol", "").split(",") if p.strip()]
    passed = {k: v for k, v in headers.items() if not k.lower().startswith(("sec-", "upg", "conn"))}
    async with session.ws_connect(url, protocols=wanted, headers=passed) as there:
        here = web.WebSocketResponse(protocols=[there.protocol] if there.protocol else [])
        await here.prepare(request)

        async def pump(source: Any, sink: Any) -> None:
            async for message in source:
                if message.type is WSMsgType.TEXT:
                    await sink.send_str(message.data)
                elif message.type is WSMsgType.BINARY:
                    await sink.send_bytes(message.data)
            await sink.close()

        await asyncio.gather(pump(here, there), pump(there, here))
        return here

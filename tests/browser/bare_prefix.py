"""The least that shows the demo site under a prefix: for testing the run-time script by itself.

It rewrites rooted and absolute addresses by plain search, which is good enough for the demo site's
markup and for nothing else. What is asked for outside the prefix is noted and refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiohttp import ClientSession, DummyCookieJar, WSMsgType, web
from yarl import URL

from zenzefi.rewriting.csp import permit
from zenzefi.rewriting.mount import Mount, MountKind, Origin
from zenzefi.rewriting.runtime import (
    RUNTIME_PATH,
    Address,
    runtime_headers,
    runtime_source,
    runtime_tag,
    unmark_query,
    worker_prelude,
)

PREFIX = "/api/v1/proxy"
_DROPPED = {"host", "connection", "transfer-encoding", "content-length", "accept-encoding"}
_MARKUP = re.compile(rb"""((?:href|src|action|data|poster|formaction)=["']?)/(?!/)""")
_SRCSET = re.compile(rb"(srcset=\"[^\"]*\")")
_CSS = re.compile(rb"""(url\(["']?|@import ["'])/(?!/)""")
_WORKERS = {"worker", "sharedworker", "serviceworker"}


@dataclass
class Seen:
    """Where the site is seen, and what went past it."""

    origin: str
    strays: list[str] = field(default_factory=list)

    @property
    def root(self) -> str:
        return f"{self.origin}{PREFIX}/"


@contextlib.asynccontextmanager
async def bare_prefix(upstream: str, address: Address = "mount") -> AsyncIterator[Seen]:
    """Serve ``upstream`` under the prefix on a free loopback port."""
    up = URL(upstream)
    upstream_origin = Origin(up.scheme, up.host or "", up.port or 0)
    async with ClientSession(cookie_jar=DummyCookieJar()) as session:
        seen = Seen("")

        def body(request: web.Request, kind: str, data: bytes, mount: Mount) -> bytes:
            inside = mount.prefix.encode() + b"/"
            data = data.replace(upstream.encode(), f"{mount.public}{mount.prefix}".encode())
            data = data.replace(
                upstream.replace("http", "ws").encode(),
                f"{mount.public}{mount.prefix}".replace("http", "ws").encode(),
            )
            if kind == "text/html":
                data = _MARKUP.sub(rb"\1" + inside, data)
                data = _SRCSET.sub(
                    lambda m: re.sub(rb'(["\s,])/(?!api)', rb"\1" + inside, m[0]), data
                )
                data = data.replace(b"=&quot;/", b"=&quot;" + inside)
                data = data.replace(b'":"/static', b'":"' + inside + b"static")
                data = data.replace(b'": "/static', b'": "' + inside + b"static")
                tag = runtime_tag(mount, [upstream_origin], nonce=nonce[0], address=address)
                data = data.replace(b"<head>", b"<head>" + tag, 1)
            if kind in ("text/html", "text/css"):
                data = _CSS.sub(rb"\1" + inside, data)
            if request.headers.get("Sec-Fetch-Dest") in _WORKERS and "javascript" in kind:
                query = request.url.raw_query_string
                prelude = worker_prelude(mount, [upstream_origin], query=query, source=data)
                data = prelude + data
            return data

        nonce: list[str | None] = [None]

        async def forward(request: web.Request) -> web.StreamResponse:
            mount = Mount(
                MountKind.PREFIX, Origin("http", "127.0.0.1", int(request.url.port or 0)), PREFIX
            )
            path = request.raw_path.removeprefix(PREFIX)
            path, _, query = path.partition("?")
            target = upstream + path + (f"?{unmark_query(query)}" if query else "")
            headers = {k: v for k, v in request.headers.items() if k.lower() not in _DROPPED}
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await _bridge(request, session, target)
            async with session.request(
                request.method,
                URL(target, encoded=True),
                headers=headers,
                data=await request.read() or None,
                allow_redirects=False,
            ) as answer:
                out = [
                    (k, v)
                    for k, v in answer.headers.items()
                    if k.lower() not in (*_DROPPED, "content-encoding", "location", "set-cookie")
                    and k.lower() != "content-security-policy"
                ]
                nonce[0] = None
                policy = answer.headers.get("Content-Security-Policy")
                if policy:
                    permission = permit([policy], mount.public, "fresh")
                    nonce[0] = permission.nonce
                    out.append(("Content-Security-Policy", permission.values[0]))
                if "Location" in answer.headers:
                    location = answer.headers["Location"].replace(upstream, "")
                    if location.startswith("/"):
                        location = PREFIX + location
                    out.append(("Location", location))
                out += [
                    ("Set-Cookie", cookie.replace("Path=/", f"Path={PREFIX}/"))
                    for cookie in answer.headers.getall("Set-Cookie", [])
                ]
                if answer.content_type == "text/event-stream":
                    stream = web.StreamResponse(status=answer.status, headers=dict(out))
                    await stream.prepare(request)
                    async for chunk in answer.content.iter_any():
                        await stream.write(chunk)
                    return stream
                data = body(request, answer.content_type, await answer.read(), mount)
                response = web.Response(status=answer.status, body=data)
                response.headers.clear()
                for name, value in out:
                    response.headers.add(name, value)
                return response

        async def script(request: web.Request) -> web.Response:
            headers = dict(runtime_headers(request.query.get("v")))
            return web.Response(body=runtime_source(), headers=headers)

        async def stray(request: web.Request) -> web.Response:
            seen.strays.append(f"{request.raw_path} (from {request.headers.get('Referer')})")
            if request.headers.get("Sec-Fetch-Dest") == "document" and address == "upstream":
                seen.strays.pop()
                return web.Response(status=307, headers={"Location": PREFIX + request.raw_path})
            return web.Response(status=404)

        app = web.Application()
        app.router.add_get(PREFIX + RUNTIME_PATH, script)
        app.router.add_route("*", PREFIX + "/{path:.*}", forward)
        app.router.add_route("*", "/{path:.*}", stray)
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            seen.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield seen
        finally:
            await runner.cleanup()


async def _bridge(request: web.Request, session: ClientSession, target: str) -> web.StreamResponse:
    wanted = [p.strip() for p in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if p]
    async with session.ws_connect(target, protocols=wanted) as there:
        here = web.WebSocketResponse(protocols=[there.protocol] if there.protocol else [])
        await here.prepare(request)

        async def pump(source: object, sink: object) -> None:
            async for message in source:  # type: ignore[attr-defined]
                if message.type is WSMsgType.TEXT:
                    await sink.send_str(message.data)  # type: ignore[attr-defined]
                elif message.type is WSMsgType.BINARY:
                    await sink.send_bytes(message.data)  # type: ignore[attr-defined]
            await sink.close()  # type: ignore[attr-defined]

        await asyncio.gather(pump(here, there), pump(there, here))
        return here

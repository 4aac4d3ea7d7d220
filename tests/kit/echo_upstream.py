"""A well-behaved upstream: echoes requests, streams, redirects, sets cookies, speaks WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator

from aiohttp import WSMsgType, web

CLOSED_WITH = web.AppKey("closed_with", asyncio.Queue)


async def echo(request: web.Request) -> web.Response:
    body = await request.read()
    # No type that any rewriter touches: the tests want to see what the upstream saw.
    return web.json_response(
        content_type="application/x-echo",
        data={
            "method": request.method,
            "target": request.raw_path,
            "headers": [[k.decode("latin-1"), v.decode("latin-1")] for k, v in request.raw_headers],
            "body": body.decode("latin-1"),
        },
    )


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for i in range(int(request.query.get("n", "5"))):
        await response.write(b"piece %d\n" % i)
        await asyncio.sleep(float(request.query.get("pause", "0.01")))
    return response


async def large(request: web.Request) -> web.StreamResponse:
    size = int(request.query["size"])
    response = web.StreamResponse(headers={"Content-Length": str(size), "Content-Type": "a/b"})
    await response.prepare(request)
    piece = b"x" * 65536
    while size and request.method != "HEAD":
        await response.write(piece[:size])
        size -= min(size, len(piece))
    return response


async def count(request: web.Request) -> web.Response:
    total = 0
    async for piece in request.content.iter_any():
        total += len(piece)
    return web.json_response({"received": total})


async def redirect(request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": request.query["to"]})


async def set_cookies(request: web.Request) -> web.Response:
    response = web.Response(text="cookies")
    response.headers.add("Set-Cookie", "one=1; Path=/; HttpOnly")
    response.headers.add("Set-Cookie", "two=2; Path=/sub; Secure; SameSite=None")
    response.headers.add("Set-Cookie", "zenzefi_access_token=evil; Path=/")
    return response


async def gzipped(request: web.Request) -> web.Response:
    return web.Response(body=gzip.compress(b"hello " * 100), headers={"Content-Encoding": "gzip"})


async def socket(request: web.Request) -> web.StreamResponse:
    ws = web.WebSocketResponse(protocols=("chat", "other"), max_msg_size=0)
    await ws.prepare(request)
    await ws.send_json(
        {
            "target": request.raw_path,
            "headers": [[k.decode("latin-1"), v.decode("latin-1")] for k, v in request.raw_headers],
        }
    )
    async for message in ws:
        if message.type is WSMsgType.TEXT:
            if message.data == "close 4321":
                await ws.close(code=4321, message=b"as asked")
                break
            await ws.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await ws.send_bytes(message.data)
    request.app[CLOSED_WITH].put_nowait(ws.close_code)
    return ws


async def no_socket(request: web.Request) -> web.Response:
    return web.Response(status=418, text="no socket here")


def echo_upstream() -> web.Application:
    app = web.Application(client_max_size=2**34)
    app[CLOSED_WITH] = asyncio.Queue()
    app.router.add_get("/stream", stream)
    app.router.add_get("/large", large)
    app.router.add_post("/count", count)
    app.router.add_get("/redirect", redirect)
    app.router.add_get("/cookies", set_cookies)
    app.router.add_get("/gzip", gzipped)
    app.router.add_get("/socket", socket)
    app.router.add_get("/no-socket", no_socket)
    app.router.add_route("*", "/{path:.*}", echo)
    return app


@contextlib.asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """Serve an upstream on a free port; its origin."""
    runner = web.AppRunner(
        app,
        auto_decompress=False,
        access_log=None,
        shutdown_timeout=1,
        max_line_size=2**20,
        max_field_size=2**20,
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{site.port}"
    await runner.cleanup()

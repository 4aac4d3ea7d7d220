"""Long-lived connections: WebSocket echo, server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time

from aiohttp import WSMsgType, web

routes = web.RouteTableDef()

_OPEN = web.AppKey("demo_sockets", set[web.WebSocketResponse])


@routes.get("/live/echo")
async def echo(request: web.Request) -> web.WebSocketResponse:
    """Echo each message; ``close:<code>:<reason>`` closes the socket with that code."""
    socket = web.WebSocketResponse(protocols=("echo.v2", "echo.v1"), max_msg_size=64 * 1024 * 1024)
    await socket.prepare(request)
    sockets = request.app[_OPEN]
    sockets.add(socket)
    try:
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            elif message.type is WSMsgType.TEXT:
                text: str = message.data
                if text.startswith("close:"):
                    code, _, reason = text[6:].partition(":")
                    await socket.close(code=int(code), message=reason.encode())
                    break
                await socket.send_str(text)
    finally:
        sockets.discard(socket)
    return socket


@routes.get("/live/events")
async def events(request: web.Request) -> web.StreamResponse:
    """The height of the tide as server-sent events.

    ``?count=`` of them (0: endless), one every ``?every=`` seconds.
    """
    try:
        count = int(request.query.get("count", "0"))
        every = max(0.01, float(request.query.get("every", "1")))
        number = int(request.headers.get("Last-Event-ID") or 0)
    except ValueError:
        raise web.HTTPBadRequest(text="count and every are numbers") from None
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    )
    await response.prepare(request)
    await response.write(b"retry: 1000\n\n")
    last = number + count
    with contextlib.suppress(ConnectionError):
        while count == 0 or number < last:
            number += 1
            data = {
                "tide_m": round(2 + 1.6 * math.sin(time.time() / 9), 2),
                "url": f"{request.scheme}://{request.host}/live/",
            }
            await response.write(
                f"id: {number}\nevent: tide\ndata: {json.dumps(data)}\n\n".encode()
            )
            await asyncio.sleep(every)
        await response.write(b"event: end\ndata: {}\n\n")
        await response.write_eof()
    return response


async def _close_sockets(app: web.Application) -> None:
    sockets = app[_OPEN]
    for socket in tuple(sockets):
        await socket.close(code=1001, message=b"the demo site is going down")


def setup(app: web.Application) -> None:
    """Add the routes, and close open sockets (1001) at shutdown."""
    app[_OPEN] = set()
    app.on_shutdown.append(_close_sockets)
    app.router.add_routes(routes)

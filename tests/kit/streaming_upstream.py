"""An upstream in a thread, independent of the event loop of a single test."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from aiohttp import WSMsgType, web

from tests.kit.ports import free_port


async def _answer(request: web.Request) -> web.StreamResponse:
    return web.json_response({"path": request.raw_path})


async def _socket(request: web.Request) -> web.StreamResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        if message.type is WSMsgType.TEXT:
            await ws.send_str(message.data)
    return ws


async def _without_end(request: web.Request, content_type: str, piece: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": content_type})
    await response.prepare(request)
    with contextlib.suppress(ConnectionResetError):
        while True:
            await response.write(piece)
            await asyncio.sleep(0.05)
    return response


async def _events(request: web.Request) -> web.StreamResponse:
    return await _without_end(request, "text/event-stream", b"data: x\n\n")


async def _download(request: web.Request) -> web.StreamResponse:
    return await _without_end(request, "application/octet-stream", b"x" * 4096)


@contextlib.contextmanager
def streaming_upstream() -> Iterator[str]:
    """A small application; its origin."""
    port = free_port()
    loop = asyncio.new_event_loop()
    app = web.Application()
    app.router.add_get("/socket", _socket)
    app.router.add_get("/events", _events)
    app.router.add_get("/download", _download)
    app.router.add_route("*", "/{tail:.*}", _answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()

    thread = threading.Thread(target=loop.run_forever, name="upstream", daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()

"""A minimal aiohttp proxy: a handler that uses ``ClientSession`` and streams the response."""

import sys
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web

HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host"}


async def handle(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return await bridge(request)
    headers = [(k, v) for k, v in request.headers.items() if k.lower() not in HOP]
    async with request.app["session"].request(
        request.method,
        sys.argv[2] + request.rel_url.raw_path_qs,
        headers=headers,
        data=request.content if request.can_read_body else None,
        allow_redirects=False,
    ) as received:
        response = web.StreamResponse(status=received.status, reason=received.reason)
        for name, value in received.headers.items():
            if name.lower() not in HOP:
                response.headers.add(name, value)
        await response.prepare(request)
        async for chunk in received.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response


async def bridge(request: web.Request) -> web.StreamResponse:
    import asyncio

    client = web.WebSocketResponse(max_msg_size=0)
    await client.prepare(request)
    url = sys.argv[2] + request.rel_url.raw_path_qs
    async with request.app["session"].ws_connect(url, max_msg_size=0) as upstream:

        async def copy(source: Any, sink: Any) -> None:
            async for message in source:
                await sink.send_bytes(message.data)
            await sink.close()

        await asyncio.gather(copy(client, upstream), copy(upstream, client))
    return client


async def session(app: web.Application) -> AsyncIterator[Any]:
    connector = TCPConnector(limit=512)
    async with ClientSession(
        connector=connector, cookie_jar=DummyCookieJar(), auto_decompress=False
    ) as app["session"]:
        yield


def main() -> None:
    app = web.Application(client_max_size=0)
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", handle)
    try:
        import uvloop

        loop = uvloop.new_event_loop()
    except ImportError:
        loop = None
    web.run_app(
        app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, loop=loop
    )


main()

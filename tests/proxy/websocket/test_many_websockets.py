"""Many WebSockets that end at the same time."""

import asyncio
import socket
from itertools import pairwise

from aiohttp import ClientSession, ClientWebSocketResponse, TCPConnector, web
from aiohttp.test_utils import TestServer

from tests.kit.proxy_gates import TOKEN, GateFactory
from zenzefi.sliced_calls import SLICE


async def test_when_many_browsers_are_lost_at_once_their_requests_end_in_slices(
    start_gate: GateFactory, upstream: str
) -> None:
    many = 3 * SLICE
    gate = await start_gate(upstream, upstream_connections_per_token=4 * many)
    async with ClientSession(
        connector=TCPConnector(limit=0), headers={"X-Access-Token": TOKEN}
    ) as client:
        sockets = [await client.ws_connect(gate.proxy_url + "/socket") for _ in range(many)]
        left = [gate.gate.websockets.open_count]
        for ws in sockets:
            ws.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        async with asyncio.timeout(30):
            while left[-1]:
                await asyncio.sleep(0)
                left.append(gate.gate.websockets.open_count)
    assert left[0] == many
    assert max(before - after for before, after in pairwise(left)) <= SLICE


async def test_when_a_token_ends_all_browsers_get_their_close_before_the_upstream(
    start_gate: GateFactory,
) -> None:
    many = 3 * SLICE
    events: list[str] = []

    async def accepting(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        message = await ws.receive()
        events.append(f"upstream {message.data}")
        return ws

    app = web.Application()
    app.router.add_get("/socket", accepting)
    async with (
        TestServer(app) as upstream,
        ClientSession(connector=TCPConnector(limit=0), headers={"X-Access-Token": TOKEN}) as client,
    ):
        gate = await start_gate(
            str(upstream.make_url("/")).rstrip("/"), upstream_connections_per_token=4 * many
        )
        sockets = [await client.ws_connect(gate.proxy_url + "/socket") for _ in range(many)]

        async def receive(ws: ClientWebSocketResponse) -> None:
            message = await ws.receive()
            events.append(f"browser {message.data}")

        receiving = [asyncio.create_task(receive(ws)) for ws in sockets]
        gate.tokens.revoke()
        async with asyncio.timeout(60):
            await asyncio.gather(*receiving)
            while len(events) < 2 * many:  # noqa: ASYNC110 - the upstream's state
                await asyncio.sleep(0.01)
        assert events.count("browser 4401") == events.count("upstream 1001") == many
        # Browsers of the first slices have read theirs when the first one of the upstream is sent.
        assert events.index("upstream 1001") >= SLICE

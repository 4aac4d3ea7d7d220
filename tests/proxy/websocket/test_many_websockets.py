"""Many WebSockets that end at the same time."""

import asyncio
import socket
from itertools import pairwise

from aiohttp import ClientSession, TCPConnector

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

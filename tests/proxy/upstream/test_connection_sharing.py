"""One pool of upstream connections for all requests."""

from __future__ import annotations

from aiohttp import ClientSession

from tests.kit.faulty_upstream import OK_HEAD, FaultyUpstream, Wire
from tests.kit.proxy_gates import GateFactory


async def test_requests_with_and_without_a_task_share_the_pooled_connections(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession
) -> None:
    async def script(wire: Wire) -> None:
        while True:
            await wire.send(OK_HEAD + b"Content-Length: 5\r\n\r\nfirst")
            await wire.read_head()

    faulty.script = script
    gate = await start_gate(faulty.url)
    for method in ("GET", "DELETE", "GET", "OPTIONS"):
        async with client.request(method, gate.proxy_url + "/x") as response:
            assert await response.read() == b"first"
    assert faulty.connections == 1

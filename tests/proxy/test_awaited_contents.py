"""Contents that a plugin awaits before anything is sent: they end with the token."""

from __future__ import annotations

import asyncio
import contextlib

from tests.kit.contents import recording, request
from tests.kit.faulty_upstream import FaultyUpstream
from tests.kit.proxy_gates import GateFactory
from tests.kit.raw_connections import Connect
from tests.kit.waiting import until
from zenzefi.plugins import Exchange, OutgoingRequest, Plugin
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry

begun: list[Exchange] = []


class Reader(Plugin):
    """Reads whole contents."""

    name = "reader"

    def request(self, exchange: Exchange, request: OutgoingRequest) -> None:
        begun.append(exchange)

    def request_body(self, exchange: Exchange, body: bytes) -> bytes:
        return body


async def test_a_content_that_a_plugin_awaits_is_not_sent_after_its_token_has_ended(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    begun.clear()
    seen = recording(faulty)
    engine = Engine(Registry(entry_points=False, classes=[Reader]))
    gate = await start_gate(faulty.url, engine=engine)
    gate.tokens.add(activated=True)
    browser = await connect(gate)
    data = request("POST", b"abcd")
    browser.writer.write(data[:-2])
    await until(lambda: begun)
    gate.tokens.revoke()
    with contextlib.suppress(ConnectionError):
        browser.writer.write(data[-2:])
        async with asyncio.timeout(10):
            assert await browser.reader.read() == b""
    assert not seen

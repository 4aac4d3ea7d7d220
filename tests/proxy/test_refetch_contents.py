"""A part that is requested again as a whole, by a request with content."""

import asyncio

from tests.kit.contents import request
from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import GateFactory
from tests.kit.raw_connections import Connect

PART = (
    b"HTTP/1.1 206 Partial Content\r\nContent-Type: text/html\r\nContent-Length: 2\r\n"
    b"Content-Range: bytes 0-1/9\r\n\r\n<p"
)


async def test_no_request_is_repeated_without_the_content_that_was_not_asked_for(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(PART)

    faulty.script = script
    gate = await start_gate(faulty.url)
    gate.tokens.add(activated=True)
    browser = await connect(gate)
    data = request("GET", b"abcd", "Range: bytes=0-1", "Expect: 100-continue")
    browser.writer.write(data[:-4])
    async with asyncio.timeout(10):
        assert (await browser.read()).start.startswith(b"HTTP/1.1 206")
    assert faulty.connections == 1

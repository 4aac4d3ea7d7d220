"""Text of a page reaches the browser while the upstream is still writing."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientSession

from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import GateFactory

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("first", [b"The lamp", b"The lamp<br>", b"\x1b[1mThe lamp"])
async def test_the_first_chunk_arrives_before_the_upstream_sends_the_second(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession, first: bytes
) -> None:
    was_read = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.send(HEAD + b"%x\r\n%b\r\n" % (len(first), first))
        await was_read.wait()
        await wire.send(b"6\r\n is on\r\n0\r\n\r\n")

    faulty.script = script
    gate = await start_gate(faulty.url)
    async with asyncio.timeout(20), client.get(gate.proxy_url + "/") as response:
        seen = b""
        while not seen.endswith(first):
            seen += await response.content.readany()
        was_read.set()
        assert (await response.read()) == b" is on"

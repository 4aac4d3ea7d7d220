"""Sides that are slow, refuse an upload early, or disconnect: back-pressure both ways."""

import asyncio

import pytest

from tests.kit.faulty_upstream import OK_HEAD, FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory


async def test_an_early_refusal_of_an_upload_reaches_the_browser(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(
            b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"
        )
        await asyncio.sleep(0.5)

    faulty.script = script
    gate = await start_gate(faulty.url)
    response = await gate.request(
        PREFIX + "/x", "Content-Length: 10000000", method="POST", body=b"z" * 200_000
    )
    assert response.startswith(b"HTTP/1.1 413 Too Large\r\n")
    assert b"Connection: close" in response


async def test_malformed_content_after_the_response_began_breaks_the_response_off(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    faulty.always(OK_HEAD + b"Content-Length: 100\r\n\r\npart", then="stall")
    gate = await start_gate(faulty.url)
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(
        f"POST {PREFIX}/x HTTP/1.1\r\nHost: h\r\nX-Access-Token: {TOKEN}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".encode()
    )
    async with asyncio.timeout(5):
        await reader.readuntil(b"part")
        writer.write(b"no chunk\r\n")
        assert await reader.read() == b""
    writer.close()


async def test_an_upstream_that_reads_no_upload_is_504(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    faulty.always(b"", then="stall")
    gate = await start_gate(faulty.url, upstream_read_timeout=0.5)
    response = await gate.request(
        PREFIX + "/x",
        "Content-Length: 30000000",
        method="POST",
        body=b"z" * 30_000_000,
        timeout=8,
    )
    assert response[:12] in (b"HTTP/1.1 504", b"HTTP/1.1 502")


async def test_a_browser_that_leaves_ends_the_work_at_the_upstream(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    gone = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.reader.read()
        gone.set()

    faulty.script = script
    gate = await start_gate(faulty.url)
    _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(f"GET {PREFIX}/x HTTP/1.1\r\nHost: h\r\nX-Access-Token: {TOKEN}\r\n\r\n".encode())
    await asyncio.sleep(0.2)
    writer.transport.abort()
    async with asyncio.timeout(3):
        await gone.wait()


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1000000000\r\n\r\n", b"\r\n"], ids=["spliced", "copied"]
)
async def test_a_slow_browser_stops_the_upstream(
    start_gate: GateFactory, faulty: FaultyUpstream, framing: bytes
) -> None:
    sent = 0

    async def script(wire: Wire) -> None:
        nonlocal sent
        await wire.send(OK_HEAD + framing)
        while True:
            await wire.send(b"z" * 100_000)
            sent += 100_000

    faulty.script = script
    gate = await start_gate(faulty.url)
    _reader, writer = await asyncio.open_connection("127.0.0.1", gate.port, limit=1000)
    writer.write(f"GET {PREFIX}/x HTTP/1.1\r\nHost: h\r\nX-Access-Token: {TOKEN}\r\n\r\n".encode())
    await asyncio.sleep(0.7)
    early = sent
    await asyncio.sleep(0.3)
    assert sent == early
    assert sent < 60_000_000
    writer.transport.abort()
    await asyncio.sleep(0)


async def test_a_slow_upstream_stops_the_browser(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    faulty.always(b"", then="stall")
    gate = await start_gate(faulty.url)
    _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(
        f"POST {PREFIX}/x HTTP/1.1\r\nHost: h\r\nX-Access-Token: {TOKEN}\r\n"
        "Content-Length: 1000000000\r\n\r\n".encode()
    )
    sent = 0

    async def send() -> None:
        nonlocal sent
        while True:
            writer.write(b"z" * 100_000)
            await writer.drain()
            sent += 100_000

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(send(), 1)
    assert sent < 60_000_000
    writer.transport.abort()
    await asyncio.sleep(0)

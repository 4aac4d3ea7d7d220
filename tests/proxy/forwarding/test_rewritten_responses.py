"""Responses that the engine maps are sent without a task."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest

from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory
from tests.kit.raw_connections import Connect, RawConnection, forwarding_of
from zenzefi.proxy.setup import ENGINE

LINK = b'<p><a href="/x">x</a></p>\n'
MAPPED = b'<p><a href="/api/v1/proxy/x">x</a></p>\n'
HTML = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"


def page(body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(line + b"\r\n" for line in (*headers, b"Content-Length: %d" % len(body)))
    return HTML + lines + b"\r\n" + body


async def test_documents_style_sheets_and_redirects_need_no_task(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    gate = await start_gate(faulty.url)
    for raw, expected in (
        (page(LINK), MAPPED),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/css\r\n"
            b"Content-Length: 14\r\n\r\na{b:url(/x.y)}",
            b"a{b:url(/api/v1/proxy/x.y)}",
        ),
        (b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n", b""),
    ):
        browser = await connect(gate)
        faulty.keep_responding(raw)
        for _ in range(3):
            response = await browser.request(PREFIX + "/a", "Sec-Fetch-Dest: document")
            assert response.is_whole
            assert response.body.endswith(expected)
        browser.close()
        faulty.hang_up()
    assert b"Location: /api/v1/proxy/there" in response.headers
    assert (forwarding_of(gate).served, forwarding_of(gate).handed_over) == (9, 0)


async def test_early_hints_arrive_before_the_response_is_there(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    was_read = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n")
        await was_read.wait()
        await wire.send(page(LINK))
        await wire.read_head()

    faulty.script = script
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    browser.send(PREFIX + "/a", "Sec-Fetch-Dest: document")
    hints = await browser.read()
    assert hints.start.startswith(b"HTTP/1.1 103")
    assert b"Link: </api/v1/proxy/s.css>; rel=preload" in hints.headers
    was_read.set()
    assert (await browser.read()).body.endswith(MAPPED)
    assert forwarding_of(gate).handed_over == 0


async def test_a_page_that_comes_in_pieces_is_passed_on_in_pieces(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    was_read = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.send(HTML + b"Content-Length: %d\r\n\r\n" % (2 * len(LINK)) + LINK)
        await was_read.wait()
        await wire.send(LINK)
        await wire.read_head()

    faulty.script = script
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    browser.send(PREFIX + "/a", "Sec-Fetch-Dest: empty")
    async with asyncio.timeout(20):
        await browser.reader.readuntil(MAPPED.strip())
        was_read.set()
        await browser.reader.readuntil(MAPPED.strip())
        await browser.reader.readuntil(b"\r\n0\r\n\r\n")


async def test_a_broken_coding_becomes_an_error_while_nothing_was_sent_and_a_cut_body_later(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    gate = await start_gate(faulty.url)
    whole = gzip.compress(LINK * 20_000)
    for body, is_late in ((b"\x1f\x8b" + b"x" * 40, False), (whole[:-8] + b"12345678", True)):
        faulty.always(page(body, b"Content-Encoding: gzip"))
        browser = await connect(gate)
        response = await browser.request(PREFIX + "/a", "Sec-Fetch-Dest: empty")
        if is_late:
            assert response.start == b"HTTP/1.1 200 OK"
            assert MAPPED in response.body
            assert not response.is_whole
        else:
            assert response.start.startswith(b"HTTP/1.1 502")


async def test_a_cut_page_is_delivered_up_to_the_cut_and_never_completed(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.always(HTML + b"Content-Length: 100000\r\n\r\n" + LINK * 20)
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    response = await browser.request(PREFIX + "/a", "Sec-Fetch-Dest: empty")
    assert response.body.count(MAPPED) >= 19
    assert not response.is_whole


async def test_a_page_ends_with_its_token(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    is_closed = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.send(HTML + b"Content-Length: 100000\r\n\r\n" + LINK)
        await wire.reader.read()
        is_closed.set()

    faulty.script = script
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    browser.send(PREFIX + "/a", "Sec-Fetch-Dest: empty")
    async with asyncio.timeout(20):
        await browser.reader.readuntil(b"/api/v1/proxy/x")
        gate.tokens.revoke(TOKEN)
        await is_closed.wait()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await browser.reader.readuntil(b"0\r\n\r\n")


async def test_a_browser_that_reads_slowly_stops_the_engine_and_the_upstream(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    size = 40_000_000
    squeezer = zlib.compressobj(wbits=31)
    body = squeezer.compress(b"<p>" + b"lorem ipsum " * (size // 12)) + squeezer.flush()
    faulty.keep_responding(page(body, b"Content-Encoding: gzip"))
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    browser.send(PREFIX + "/a", "Sec-Fetch-Dest: empty")
    await browser.reader.readuntil(b"\r\n\r\n")
    transport = browser.writer.transport
    assert isinstance(transport, asyncio.ReadTransport)
    transport.pause_reading()
    html = next(e for e in gate.app[ENGINE].registry.entries if e.name == "html").statistics
    read = -1
    while read != html.bytes:
        read = html.bytes
        await asyncio.sleep(0.2)
    transport.resume_reading()
    assert await _length(browser) == 3 + size // 12 * 12
    assert html.bytes - read > size // 2


async def _length(browser: RawConnection) -> int:
    length = 0
    async with asyncio.timeout(60):
        while size := int(await browser.reader.readline(), 16):
            length += len(await browser.reader.readexactly(size))
            await browser.reader.readexactly(2)
    return length

"""Contents of known requests: inspected, counted, sent again, and never mistaken."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.kit.contents import NOTHING, hang_up, recording, request, send
from tests.kit.faulty_upstream import FaultyUpstream, Wire, write
from tests.kit.proxy_gates import TOKEN, GateFactory
from tests.kit.raw_connections import Connect, forwarding_of
from tests.kit.request_model import read_request
from tests.kit.waiting import until
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.slots import Slot

READER = "R" * 64
FORM = "Content-Type: application/x-www-form-urlencoded"


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("cut", [0, 3, 14])
@pytest.mark.parametrize("content", [b"a=1&_method=DELETE", b"_method=DELETE&a=2"])
async def test_a_method_in_a_content_must_be_covered(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    connect: Connect,
    is_known: bool,
    cut: int,
    content: bytes,
) -> None:
    gate = await start_gate(faulty.url, scopes={"reader": ["GET,POST /x"]})
    gate.tokens.add(READER, "reader", activated=True)
    seen = recording(faulty, NOTHING)
    browser = await connect(gate)
    allowed = request("POST", b"a=1&_method=POST", FORM).replace(TOKEN.encode(), READER.encode())
    for _ in range(is_known):
        write(browser.writer, allowed)
        assert (await browser.read("POST")).start == b"HTTP/1.1 204 No Content"
    refused = request("POST", content, FORM).replace(TOKEN.encode(), READER.encode())
    cuts = [len(refused) - len(content) + cut] if cut else []
    await send(browser, refused, cuts)
    assert (await browser.read("POST")).start.startswith(b"HTTP/1.1 403")
    assert len(seen) == is_known


@pytest.mark.every_loop
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_a_content_is_sent_again_only_if_the_method_permits_it(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect, method: str
) -> None:
    """RFC 9110, 9.2.2. The content came with its head, so it is still held."""
    gate = await start_gate(faulty.url)
    seen = recording(faulty, NOTHING)
    browser = await connect(gate)
    data = request(method, b"abcd")
    write(browser.writer, data)
    assert (await browser.read(method)).start == b"HTTP/1.1 204 No Content"
    dies = [True]

    async def script(wire: Wire) -> None:
        while True:
            seen.append(await read_request(wire.reader, wire.head))
            if len(seen) == 3 and dies.pop():
                wire.reset()
                return
            await wire.send(NOTHING)
            await wire.read_head()

    await hang_up(faulty)
    faulty.script = script
    for expected in (b"204", b"204" if method == "PUT" else b"502"):
        write(browser.writer, data)
        assert (await browser.read(method)).start[9:12] == expected
    assert len(seen) == 3 + (method == "PUT")


@pytest.mark.every_loop
@pytest.mark.parametrize("sizes", [(), (3,)])
async def test_a_content_that_comes_between_two_connections_is_sent_on_the_second(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect, sizes: tuple[int, ...]
) -> None:
    """Else the upstream would take the next request on this connection for the content."""
    gate = await start_gate(faulty.url)
    seen = recording(faulty, NOTHING)
    browser = await connect(gate)
    data = request("PUT", b"abcdefgh", sizes=sizes)
    write(browser.writer, data)
    assert (await browser.read("PUT")).start == b"HTTP/1.1 204 No Content"
    upstream = forwarding_of(gate).upstream
    open_connection = upstream.open
    is_opening, may_open = asyncio.Event(), asyncio.Event()

    async def opened(slot: Slot) -> UpstreamConnection:
        is_opening.set()
        await may_open.wait()
        return await open_connection(slot)

    upstream.open = opened  # type: ignore[method-assign]
    size = data.find(b"\r\n\r\n") + 4
    write(browser.writer, data[:size])
    faulty.hang_up()
    await is_opening.wait()
    write(browser.writer, data[size:])
    await asyncio.sleep(0.02)  # the gate has read them
    may_open.set()
    assert (await browser.read("PUT")).start == b"HTTP/1.1 204 No Content"
    assert [one.content for one in seen] == [b"abcdefgh"] * 2
    assert forwarding_of(gate).handed_over == 0


@pytest.mark.every_loop
async def test_a_content_that_comes_while_its_connection_is_lost_is_sent_on_the_next(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    """A write failed, and the event loop reports it in its next turn."""
    gate = await start_gate(faulty.url)
    seen = recording(faulty, NOTHING)
    browser = await connect(gate)
    data = request("PUT", b"abcdefgh")
    write(browser.writer, data)
    assert (await browser.read("PUT")).start == b"HTTP/1.1 204 No Content"
    [connection] = forwarding_of(gate).connections
    write(browser.writer, data[:-8])
    await until(lambda: connection.is_busy)
    client: Any = connection._client
    connection.transport.abort()
    client.data_received(data[-8:])
    assert (await browser.read("PUT")).start == b"HTTP/1.1 204 No Content"
    assert [one.content for one in seen] == [b"abcdefgh"] * 2


@pytest.mark.every_loop
async def test_bytes_of_contents_are_counted(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    gate = await start_gate(faulty.url)
    recording(faulty, NOTHING)
    browser = await connect(gate)
    counted: list[int] = []

    def note(*_: object, requests: int, bytes_in: int, **_options: object) -> None:
        assert requests
        counted.append(bytes_in)

    sessions: Any = forwarding_of(gate).sessions
    sessions.note = note
    for sizes in ((), (), (3,)):
        for cuts in ([], [-40], [-3]):
            data = request("POST", b"c" * 100, sizes=sizes)
            await send(browser, data, [len(data) + cut for cut in cuts])
            assert (await browser.read("POST")).start == b"HTTP/1.1 204 No Content"
    await until(lambda: sum(counted) >= 900)
    assert sum(counted) == 900


@pytest.mark.every_loop
@pytest.mark.parametrize(
    "disguise",
    [
        "Content-Length: \r\nContent-Length: 4",
        "Content-Length: 4\r\nContent-Length: 4",
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Content-Length: 4, 4",
        "Content-Length: +4",
        "Content-Length:",
        "Content-Length : 4",
        "X-A: 1\r\n Content-Length: 4",
        "X-A: 1\rContent-Length: 4",
        "X-A: 1\nContent-Length: 4",
    ],
)
async def test_no_other_header_block_passes_for_a_known_one(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect, disguise: str
) -> None:
    """Request smuggling: a length that two servers could parse differently is refused."""
    gate = await start_gate(faulty.url)
    seen = recording(faulty, NOTHING)
    known = request("POST", b"abcd")
    browser = await connect(gate)
    for _ in range(2):
        write(browser.writer, known)
        assert (await browser.read("POST")).start == b"HTTP/1.1 204 No Content"
    for _ in range(2):
        forged = known.replace(b"Content-Length: 4", disguise.encode())
        browser = await connect(gate)
        write(browser.writer, forged)
        got = await browser.read("POST")
        assert got.start.endswith(b" 400 Bad Request"), got
    assert len(seen) == 2

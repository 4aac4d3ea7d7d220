"""Requests with content, with and without a task: the same results."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from tests.kit.contents import NOTHING, hang_up, recording, request, send
from tests.kit.faulty_upstream import OK_HEAD, FaultyUpstream, Wire, write
from tests.kit.proxy_gates import TOKEN, GateFactory, RunningGate
from tests.kit.raw_connections import Connect, forwarding_of

METHODS = ["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD", "OPTIONS", "PROPFIND", "BREW", "like"]
CONTENTS = [
    b"",
    b"x",
    b"GET /evil HTTP/1.1\r\nHost: gate.test:8000\r\n\r\n",
    b"0\r\n\r\n",
    bytes(range(256)) * 40,
    b"z" * 150_000,
]


@pytest.fixture
async def gates(start_gate: GateFactory, faulty: FaultyUpstream) -> list[RunningGate]:
    """One admits at once, one by tasks; the same token, so that the same headers are sent."""
    both = [
        await start_gate(faulty.url, fast_lane=fast, backend_url="http://gate.test:8000")
        for fast in (True, False)
    ]
    both[1].tokens.known[TOKEN] = both[0].tokens.known[TOKEN]
    return both


@pytest.mark.every_loop
@pytest.mark.parametrize("method", METHODS)
async def test_every_method_and_content_is_the_same_with_and_without_a_task(
    gates: list[RunningGate], faulty: FaultyUpstream, connect: Connect, method: str
) -> None:
    chance = random.Random(method)
    seen = recording(faulty)
    plan = []
    for content in CONTENTS:
        for sizes in ((), (1, 7, 60_000)):
            headers = chance.choice([[], ["Expect: 100-continue"], ["Content-Type: a/b"]])
            data = request(method, content, *headers, sizes=sizes)
            for _ in range(3):
                cuts = [chance.randrange(1, len(data)) for _ in range(chance.randrange(3))]
                plan.append((data, cuts))
    found = []
    for gate in gates:
        seen.clear()
        responses = []
        browser = await connect(gate)
        for data, cuts in plan:
            await send(browser, data, cuts)
            got = await browser.read(method)
            while got.start.startswith(b"HTTP/1.1 1"):
                got = await browser.read(method)
            responses.append(got.shape)
        found.append((list(seen), responses))
    assert found[0] == found[1]
    assert len(found[0][0]) == len(plan)
    assert forwarding_of(gates[0]).served == len(plan)
    assert forwarding_of(gates[0]).handed_over == 0


RESPONSES = {
    "early 413": b"HTTP/1.1 413 No\r\nContent-Type: a/b\r\nContent-Length: 3\r\n\r\nbig",
    "early chunked": OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "early until the end": OK_HEAD + b"\r\nto the end",
    "early events": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Content-Length: 9\r\n\r\ndata: 1\n\n",
    "early page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 11\r\n\r\n"
    b"<a href=/x>",
    "early hints": b"HTTP/1.1 103 Early\r\nLink: </a>; rel=preload\r\n\r\n" + NOTHING,
    "no length": b"HTTP/1.1 401 No\r\n\r\n",
    "sloppy": b"HTTP/1.1 200 OK\nContent-Type: a/b\nContent-Length: 1\n\nx",
    "cut": OK_HEAD + b"Content-Length: 100\r\n\r\ncut",
    "garbage": b"garbage\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.every_loop
@pytest.mark.parametrize("is_complete", [True, False])
@pytest.mark.parametrize("sizes", [(), (1000,)], ids=["length", "chunked"])
@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)
async def test_responses_that_come_at_any_time_are_the_same_with_and_without_a_task(
    gates: list[RunningGate],
    faulty: FaultyUpstream,
    connect: Connect,
    response: bytes,
    sizes: tuple[int, ...],
    is_complete: bool,
) -> None:
    """Also while the client has not sent all of the content."""
    received = []

    async def script(wire: Wire) -> None:
        received.append(await wire.reader.readexactly(1000))
        await wire.send(response)
        await asyncio.sleep(0.05)

    faulty.script = script
    data = request("POST", b"c" * 3000, sizes=sizes)
    found = []
    for gate in gates:
        received.clear()
        shapes = []
        for _ in range(3):
            browser = await connect(gate)
            write(browser.writer, data if is_complete else data[:-1000])
            got = await browser.read("POST")
            while got.start.startswith(b"HTTP/1.1 1"):
                shapes.append(got.shape)
                got = await browser.read("POST")
            shapes.append(got.shape)
            browser.close()
            await hang_up(faulty)
        found.append((shapes, list(received)))
    assert found[0] == found[1]


@pytest.mark.every_loop
@pytest.mark.parametrize("is_known", [True, False])
async def test_no_100_continue_is_sent_after_the_final_head(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect, is_known: bool
) -> None:
    """Without a response it would be sent one second after the request."""
    gate = await start_gate(faulty.url)
    recording(faulty, NOTHING)
    data = request("POST", b"abcd", "Expect: 100-continue")
    browser = await connect(gate)
    for _ in range(is_known):
        write(browser.writer, data)
        assert (await browser.read("POST")).start == b"HTTP/1.1 100 Continue"
        assert (await browser.read("POST")).start == b"HTTP/1.1 204 No Content"

    async def script(wire: Wire) -> None:
        await wire.send(OK_HEAD + b"Content-Length: 6\r\n\r\nabc")
        await asyncio.sleep(1.3)
        await wire.send(b"def")

    await hang_up(faulty)
    faulty.script = script
    write(browser.writer, data[:-4])
    got = await browser.read("POST")
    assert got.body == b"abcdef"
    assert b"Connection: close" in got.headers
    assert await browser.reader.read() == b""


@pytest.mark.every_loop
@pytest.mark.parametrize("is_known", [True, False])
async def test_a_slow_upstream_stops_the_reading_of_a_content(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect, is_known: bool
) -> None:
    size = 60_000_000  # the buffers of four sockets may hold 20 MB of it
    gate = await start_gate(faulty.url)
    recording(faulty, NOTHING)
    browser = await connect(gate)
    for _ in range(is_known):
        write(browser.writer, request("POST", b"abcd"))
        assert (await browser.read("POST")).start == b"HTTP/1.1 204 No Content"
    go_on = asyncio.Event()
    received = []

    async def script(wire: Wire) -> None:
        await go_on.wait()
        received.append(await wire.reader.readexactly(size))
        await wire.send(NOTHING)

    await hang_up(faulty)
    faulty.script = script
    write(browser.writer, request("POST", b"c" * size))
    await asyncio.sleep(0.5)
    assert browser.writer.transport.get_write_buffer_size() > size // 3
    go_on.set()
    assert (await browser.read("POST")).start == b"HTTP/1.1 204 No Content"
    assert received == [b"c" * size]
    assert forwarding_of(gate).served == 1 + is_known


@pytest.mark.every_loop
@pytest.mark.parametrize("is_known", [True, False])
async def test_a_client_that_stops_sending_gets_408(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect, is_known: bool
) -> None:
    gate = await start_gate(faulty.url, upstream_read_timeout=0.4)
    seen = recording(faulty, NOTHING)
    browser = await connect(gate)
    data = request("POST", b"abcd")
    for _ in range(is_known):
        write(browser.writer, data)
        assert (await browser.read("POST")).start == b"HTTP/1.1 204 No Content"
    for piece in (data[:-4], b"a", b"b"):  # slowly, but within the limit
        write(browser.writer, piece)
        await asyncio.sleep(0.25)
    assert (await browser.read("POST")).start.startswith(b"HTTP/1.1 408")
    assert await browser.reader.read() == b""
    assert len(seen) == is_known


@pytest.mark.every_loop
@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("end", ["token", "client"])
async def test_an_upload_ends_with_its_token(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect, is_known: bool, end: str
) -> None:
    """And with its client."""
    gate = await start_gate(faulty.url)
    recording(faulty, NOTHING)
    browser = await connect(gate)
    data = request("POST", b"abcd")
    for _ in range(is_known):
        write(browser.writer, data)
        assert (await browser.read("POST")).start == b"HTTP/1.1 204 No Content"
    received, ended = asyncio.Event(), asyncio.Event()
    rest = [b""]

    async def script(wire: Wire) -> None:
        assert await wire.reader.readexactly(2) == b"ab"
        received.set()
        with contextlib.suppress(ConnectionError):
            rest.append(await wire.reader.read())
        ended.set()

    await hang_up(faulty)
    faulty.script = script
    write(browser.writer, data[:-2])
    async with asyncio.timeout(5):
        await received.wait()
        if end == "token":
            gate.tokens.revoke()
            with contextlib.suppress(ConnectionError):
                assert await browser.reader.read() == b""
        else:
            browser.close()
        await ended.wait()
    assert b"".join(rest) == b""

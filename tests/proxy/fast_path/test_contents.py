"""Requests with content on the fast path: the same results as on the standard path."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import pytest

from tests.kit.faulty_upstream import OK_HEAD, FaultyUpstream, Wire, write
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate
from tests.kit.raw_connections import Connect, RawConnection, fast_path_of
from tests.kit.request_model import ReceivedRequest, read_request, response_to

ID = "X-Request-ID: contents-1"
NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"
READER = "R" * 64
FORM = "Content-Type: application/x-www-form-urlencoded"
METHODS = ["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD", "OPTIONS", "PROPFIND", "BREW", "like"]
CONTENTS = [
    b"",
    b"x",
    b"GET /evil HTTP/1.1\r\nHost: gate.test:8000\r\n\r\n",
    b"0\r\n\r\n",
    bytes(range(256)) * 40,
    b"z" * 150_000,
]

Sender = Callable[[RawConnection, bytes, list[int]], Awaitable[None]]


def recording(faulty: FaultyUpstream, *responses: bytes) -> list[ReceivedRequest]:
    """Let the upstream read whole requests; it responds to them in turn, the last one repeats."""
    seen: list[ReceivedRequest] = []
    left = list(responses)

    async def script(wire: Wire) -> None:
        while True:
            if b"\r\nExpect: " in wire.head:
                await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            received = await read_request(wire.reader, wire.head)
            seen.append(received)
            if left:
                await wire.send(left.pop(0) if len(left) > 1 else left[0])
            else:
                await wire.send(response_to(received))
            await wire.read_head()

    faulty.script = script
    return seen


def request(method: str, content: bytes, *headers: str, sizes: tuple[int, ...] = ()) -> bytes:
    """A request; ``sizes``: those of its chunks, else it has a length."""
    lines = [f"{method} {PREFIX}/x HTTP/1.1", "Host: gate.test:8000", f"X-Access-Token: {TOKEN}"]
    lines += [ID, *headers]
    if not sizes:
        lines.append(f"Content-Length: {len(content)}")
        return "\r\n".join([*lines, "", ""]).encode() + content
    lines.append("Transfer-Encoding: chunked")
    framed, rest, left = b"", content, list(sizes)
    while rest:
        size = left.pop(0) if len(left) > 1 else left[0]
        framed += b"%x\r\n%b\r\n" % (len(rest[:size]), rest[:size])
        rest = rest[size:]
    return "\r\n".join([*lines, "", ""]).encode() + framed + b"0\r\n\r\n"


async def send(browser: RawConnection, data: bytes, cuts: list[int]) -> None:
    for cut in cuts:
        piece, data = data[:cut], data[cut:]
        write(browser.writer, piece)
        await asyncio.sleep(0.002)
    write(browser.writer, data)


async def hang_up(faulty: FaultyUpstream) -> None:
    """End the pooled connections, and let the gate notice it."""
    faulty.hang_up()
    await asyncio.sleep(0.05)


@pytest.fixture
async def gates(start_gate: GateFactory, faulty: FaultyUpstream) -> list[RunningGate]:
    """One with the fast path, one without; the same token, so that the same headers are sent."""
    both = [
        await start_gate(faulty.url, fast_lane=fast, backend_url="http://gate.test:8000")
        for fast in (True, False)
    ]
    both[1].tokens.known[TOKEN] = both[0].tokens.known[TOKEN]
    return both


@pytest.mark.every_loop
@pytest.mark.parametrize("method", METHODS)
async def test_every_method_and_content_is_the_same_on_both_paths(
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
    assert fast_path_of(gates[0]).served == len(plan)
    assert fast_path_of(gates[0]).handed_over == 0


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
async def test_responses_that_come_at_any_time_are_the_same_on_both_paths(
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
    size = 30_000_000
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
    assert fast_path_of(gate).served == 1 + is_known


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
async def test_bytes_of_contents_are_counted(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    gate = await start_gate(faulty.url)
    recording(faulty, NOTHING)
    browser = await connect(gate)
    counted: list[int] = []
    fast_path = fast_path_of(gate)
    record = fast_path.record

    def recorded(*values: object) -> None:
        counted.append(values[5])  # type: ignore[arg-type]
        record(*values)  # type: ignore[arg-type]

    fast_path.record = recorded  # type: ignore[method-assign, assignment]
    for sizes in ((), (), (3,)):
        for cuts in ([], [-40], [-3]):
            data = request("POST", b"c" * 100, sizes=sizes)
            await send(browser, data, [len(data) + cut for cut in cuts])
            assert (await browser.read("POST")).start == b"HTTP/1.1 204 No Content"
    assert counted == [100] * 9


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
    """Request smuggling: a length that two servers could read in two ways is refused."""
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

"""Each field of a response's head and framing, well-formed or not: 502 or exactly what came.

Both ways and several methods: the rules are the same for all.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate

REST = b"Content-Type: a/b\r\nContent-Length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n"
HI = b"2\r\nhi\r\n0\r\n\r\n"
METHODS = ["GET", "POST", "DELETE", "BREW"]

BAD_STATUS_LINES = [
    b"HTTP/2.0 200 OK",
    b"HTTP/2 200 OK",
    b"HTTP/1.2 200 OK",
    b"HTTP/0.9 200 OK",
    b"HTTP/1.10 200 OK",
    b"HTTP/1. 200 OK",
    b"http/1.1 200 OK",
    b"ICY 200 OK",
    b"RTSP/1.0 200 OK",
    b"HTTP/1.1  200 OK",
    b"HTTP/1.1\t200 OK",
    b" HTTP/1.1 200 OK",
    b"HTTP/1.1 099 Low",
    b"HTTP/1.1 000 Low",
    b"HTTP/1.1 600 High",
    b"HTTP/1.1 999 High",
    b"HTTP/1.1 20 OK",
    b"HTTP/1.1 2000 OK",
    b"HTTP/1.1 +200 OK",
    b"HTTP/1.1 -200 OK",
    b"HTTP/1.1 2_0 OK",
    b"HTTP/1.1 0x1 OK",
    b"HTTP/1.1 2x0 OK",
    b"HTTP/1.1 \xd9\xa2\xd9\xa0\xd9\xa0 OK",
    b"HTTP/1.1 200OK",
    b"HTTP/1.1 200\tOK",
    b"HTTP/1.1",
    b"HTTP/1.1 ",
    *(b"HTTP/1.1 200 O%cK" % byte for byte in (*range(9), 11, 12, *range(14, 32), 127)),
    b"HTTP/1.1 200 O\rK",
    b"HTTP/1.1 200 " + b"K" * 70_000,
]
GOOD_STATUS_LINES = {
    b"HTTP/1.1 200 OK": b"200 OK",
    b"HTTP/1.1 200 ": b"200 ",
    b"HTTP/1.1 200": b"200 ",
    b"HTTP/1.0 200 OK": b"200 OK",
    b"HTTP/1.1 200 Fine \xe9\xff": b"200 Fine \xe9\xff",
    b"HTTP/1.1 200 a\tb  c": b"200 a\tb  c",
    b"HTTP/1.1 299 Own": b"299 Own",
    b"HTTP/1.1 599 Own": b"599 Own",
}
BAD_LENGTHS = [
    b"+2", b"-2", b"0x2", b"2_0", b"2.0", b"2e0", b"two", b"", b"2 2", b"2, 2", b"2,2", b"2;2",
    b'"2"', b"\xd9\xa2", b"\xb2", b"2\x0b", b"2\x00", b"\r2",
    b"9" * 4300, b"9" * 5000, b"0" * 5000 + b"2", b"18446744073709551616", b"9" * 19, b"9" * 20,
]  # fmt: skip
BAD_CHUNKS = [
    b"+2", b"-2", b"0x2", b"2_0", b"g", b"", b" 2", b"2 2", b"\xd9\xa2", b"2\r", b"2;\x00",
    b"f" * 17, b"f" * 5000, b"2\x0b",
]  # fmt: skip
BAD_FIELDS = {
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
    "a folded length": b"Content-Length:\r\n 2\r\n\r\nhi",
    "a folded value": b"X-A: a\r\n b\r\nContent-Length: 2\r\n\r\nhi",
    "a folded first line": b" X-A: a\r\nContent-Length: 2\r\n\r\nhi",
    "a space before the colon": b"Content-Length : 2\r\n\r\nhi",
    "a lone CR in a value": b"X-A: a\rb\r\nContent-Length: 2\r\n\r\nhi",
    "a lone CR in a name": b"X\rA: a\r\nContent-Length: 2\r\n\r\nhi",
    "a NUL in a value": b"X-A: a\0b\r\nContent-Length: 2\r\n\r\nhi",
    "a line without a colon": b"X-A\r\nContent-Length: 2\r\n\r\nhi",
    "an empty name": b": a\r\nContent-Length: 2\r\n\r\nhi",
    "a name of latin-1": b"X-\xe9: a\r\nContent-Length: 2\r\n\r\nhi",
    "a space in a name": b"X A: a\r\nContent-Length: 2\r\n\r\nhi",
    "chunked and a length": b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n" + HI,
    "a length and chunked": b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n" + HI,
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "chunked and gzip": b"Transfer-Encoding: chunked, gzip\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "a coding that is none": b"Transfer-Encoding: xchunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "identity": b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi",
    "an empty coding": b"Transfer-Encoding:\r\nContent-Length: 2\r\n\r\nhi",
    "VT before chunked": b"Transfer-Encoding: \x0bchunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
}


async def response_to(gate: RunningGate, method: str) -> bytes:
    """The whole connection's bytes in response to one request."""
    head = (
        f"{method} {PREFIX}/x HTTP/1.1\r\nHost: gate.test\r\nX-Access-Token: {TOKEN}\r\n"
        "Connection: close\r\n\r\n"
    )
    return await gate.raw(head.encode(), timeout=8)


@pytest.mark.parametrize("method", METHODS)
async def test_a_malformed_status_line_is_502(
    start_gate: GateFactory, faulty: FaultyUpstream, method: str
) -> None:
    gate = await start_gate(faulty.url)
    passed = []
    for line in BAD_STATUS_LINES:
        faulty.always(line + b"\r\n" + REST)
        if not (got := await response_to(gate, method)).startswith(b"HTTP/1.1 502 "):
            passed.append((line[:40], got[:40]))
    assert passed == []


@pytest.mark.parametrize("method", METHODS)
async def test_a_wellformed_status_line_passes(
    start_gate: GateFactory, faulty: FaultyUpstream, method: str
) -> None:
    gate = await start_gate(faulty.url)
    for line, expected in GOOD_STATUS_LINES.items():
        faulty.always(line + b"\r\n" + REST)
        got = await response_to(gate, method)
        assert got.startswith(b"HTTP/1.1 " + expected + b"\r\n"), (line, got[:300])
        assert got.endswith(b"\r\n\r\nhi")


@pytest.mark.parametrize("method", METHODS)
async def test_a_malformed_length_is_502(
    start_gate: GateFactory, faulty: FaultyUpstream, method: str
) -> None:
    gate = await start_gate(faulty.url)
    passed = []
    for value in BAD_LENGTHS:
        faulty.always(
            b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: %b\r\n\r\nhi" % value
        )
        if not (got := await response_to(gate, method)).startswith(b"HTTP/1.1 502 "):
            passed.append((value[:30], len(value), got[:40]))
    assert passed == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", BAD_FIELDS)
async def test_malformed_fields_are_502(
    start_gate: GateFactory, faulty: FaultyUpstream, method: str, name: str
) -> None:
    gate = await start_gate(faulty.url)
    faulty.always(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n" + BAD_FIELDS[name])
    got = await response_to(gate, method)
    assert got.startswith(b"HTTP/1.1 502 "), got[:300]


@pytest.mark.parametrize("method", METHODS)
async def test_malformed_chunks_break_off_and_what_came_before_them_arrives(
    start_gate: GateFactory, faulty: FaultyUpstream, method: str
) -> None:
    gate = await start_gate(faulty.url)
    for size in BAD_CHUNKS:

        async def script(wire: Wire, size: bytes = size) -> None:
            await wire.send(CHUNKED + b"5\r\nfirst\r\n")
            await asyncio.sleep(0.02)
            await wire.send(size + b"\r\nhi\r\n0\r\n\r\n")

        faulty.script = script
        got = await response_to(gate, method)
        assert got.startswith(b"HTTP/1.1 200 "), (size, got[:300])
        assert b"5\r\nfirst\r\n" in got
        assert not got.endswith(b"0\r\n\r\n"), size
        assert b"hi" not in got.partition(b"first")[2], size


BODILESS = [
    ("GET", b"204 No Content"),
    ("POST", b"204 No Content"),
    ("DELETE", b"204 No Content"),
    ("PROPFIND", b"204 No Content"),
    ("GET", b"304 Not Modified"),
    ("POST", b"304 Not Modified"),
    ("HEAD", b"200 OK"),
    ("HEAD", b"404 Not Found"),
    ("HEAD", b"204 No Content"),
]
FRAMINGS = {
    "none": b"\r\nbody",
    "a length": b"Content-Length: 4\r\n\r\nbody",
    "another length": b"Content-Length: 400\r\n\r\nbody",
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    "half a response": b"\r\nHTTP/1.1 200 OK\r\nContent-",
    "a response": b"\r\nHTTP/1.1 200 OK\r\nX-Evil: 1\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("pause", [0.0, 0.02])
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize(("method", "status"), BODILESS)
async def test_the_head_ends_a_response_that_has_no_body(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    method: str,
    status: bytes,
    framing: Any,
    pause: float,
) -> None:
    """RFC 9112, 6.3. What follows is ignored, and the connection is not used again."""

    async def script(wire: Wire) -> None:
        head, end, body = FRAMINGS[framing].partition(b"\r\n\r\n")
        if not end:
            head, end, body = b"", b"\r\n", FRAMINGS[framing][2:]
        await wire.send(
            b"HTTP/1.1 " + status + b"\r\nContent-Type: a/b\r\n" + head + end, drain=False
        )
        if pause:
            await wire.send(b"")
            await asyncio.sleep(pause)
        await wire.send(body)
        await wire.read_head()
        faulty.heads.append(b"used again")

    faulty.script = script
    gate = await start_gate(faulty.url)
    for count in (1, 2):
        got = await response_to(gate, method)
        assert got.startswith(b"HTTP/1.1 " + status + b"\r\n"), got[:300]
        assert got.endswith(b"\r\n\r\n")
        assert got.count(b"HTTP/1.") == 1
        assert b"body" not in got
        if status.startswith(b"204"):
            assert b"content-length" not in got.lower()
            assert b"transfer-encoding" not in got.lower()
        await asyncio.sleep(pause)
        assert len(faulty.heads) == count
    assert b"used again" not in faulty.heads


INTERIMS = [
    b"HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n",
    b"HTTP/1.0 100 Continue\r\n\r\n",
    b"HTTP/1.0 103 Early Hints\r\n\r\n",
    b"HTTP/1.1 102 Processing\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 102 Processing\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.0 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\n",
]


@pytest.mark.parametrize("pause", [0.0, 0.02])
@pytest.mark.parametrize("method", [*METHODS, "HEAD"])
@pytest.mark.parametrize("interim", INTERIMS)
async def test_no_field_of_an_interim_response_ends_the_exchange(
    start_gate: GateFactory, faulty: FaultyUpstream, method: str, interim: bytes, pause: float
) -> None:
    """RFC 9110, 15.2: the final response follows; RFC 9112, 6.3: a 1xx has no content."""

    async def script(wire: Wire) -> None:
        await wire.send(interim, drain=False)
        await asyncio.sleep(pause)
        await wire.send(b"HTTP/1.1 200 OK\r\n" + REST)

    faulty.script = script
    gate = await start_gate(faulty.url)
    got = await response_to(gate, method)
    *interims, final, body = got.split(b"\r\n\r\n")
    assert final.startswith(b"HTTP/1.1 200 "), got[:300]
    assert body == (b"" if method == "HEAD" else b"hi")
    assert all(one.startswith(b"HTTP/1.1 10") for one in interims), got[:300]

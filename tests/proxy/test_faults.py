"""A hostile or faulty upstream: 502, 504 or a truncated body, never a hang or a mix-up."""

import asyncio
import gzip
import time
from dataclasses import replace

import pytest
from aiohttp import ClientConnectionError, ClientPayloadError, ClientSession

from tests.kit.faulty_upstream import OK_HEAD, FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, GateFactory, RunningGate
from zenzefi.proxy.setup import ENGINE


async def whole(client: ClientSession, gate: RunningGate) -> bytes:
    """The whole body. Raises for a broken body, and for a 502 if it broke with the head."""
    async with client.get(gate.proxy_url + "/x") as response:
        if response.status == 502:
            raise ClientPayloadError
        return await response.read()


BAD_HEADS = {
    "garbage": b"\x00\x01\x02 this is no HTTP\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.9\r\n",
    "nothing": b"",
    "half a status line": b"HTTP/1.1 20",
    "half a head": OK_HEAD + b"Content-Le",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "both framings": OK_HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": OK_HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a list of lengths": OK_HEAD + b"Content-Length: 5, 5\r\n\r\nhello",
    "a negative length": OK_HEAD + b"Content-Length: -5\r\n\r\nhello",
    "a length in words": OK_HEAD + b"Content-Length: five\r\n\r\nhello",
    "a length beyond 64 bits": OK_HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nhello",
    "a space behind a length's name": OK_HEAD + b"Content-Length : 5\r\n\r\nhello",
    "chunked twice": OK_HEAD
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown transfer coding": OK_HEAD + b"Transfer-Encoding: gzip\r\n\r\nhello",
    "gzip and chunked": OK_HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a NUL in a header": OK_HEAD + b"X-A: a\0b\r\nContent-Length: 0\r\n\r\n",
    "a bare CR in a header": OK_HEAD + b"X-A: a\rSet-Cookie: evil=1\r\nContent-Length: 0\r\n\r\n",
    "a header without a name": OK_HEAD + b": a\r\nContent-Length: 0\r\n\r\n",
    "a header of 100 kB": OK_HEAD + b"X-A: " + b"a" * 100_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "a thousand headers": OK_HEAD + b"X-A: a\r\n" * 1000 + b"Content-Length: 0\r\n\r\n",
    "an unasked 101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\n\r\n",
    "a flood of 1xx": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000,
}


CUT_BODIES = {
    "a length that is not reached": OK_HEAD + b"Content-Length: 100\r\n\r\nonly this",
    "chunks without an end": OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "half a chunk": OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\nhello",
    "a chunk size that is none": OK_HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n",
    "a chunk longer than said": OK_HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello!!!!\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": OK_HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nfffffffffffffffff\r\n",
}


@pytest.mark.parametrize("response", BAD_HEADS.values(), ids=BAD_HEADS.keys())
async def test_a_malformed_response_head_is_502(
    start_gate: GateFactory, faulty: FaultyUpstream, response: bytes
) -> None:
    faulty.always(response)
    gate = await start_gate(faulty.url)
    got = await gate.request(PREFIX + "/x", timeout=5)
    got = got[got.index(b"HTTP/1.1 5") :] if got.startswith(b"HTTP/1.1 103") else got
    assert got.startswith(b"HTTP/1.1 502 Bad Gateway\r\n"), got[:300]
    assert faulty.url.removeprefix("http://").encode() not in got
    assert b"evil" not in got


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("response", CUT_BODIES.values(), ids=CUT_BODIES.keys())
async def test_a_body_that_is_cut_never_ends_cleanly(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    client: ClientSession,
    response: bytes,
    then: str,
) -> None:
    faulty.always(response, then=then)
    gate = await start_gate(faulty.url)
    async with asyncio.timeout(5):
        with pytest.raises((ClientPayloadError, ClientConnectionError)):
            await whole(client, gate)


@pytest.mark.parametrize(
    "response", [OK_HEAD + b"\r\npart", OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"]
)
async def test_a_reset_is_never_a_clean_end(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession, response: bytes
) -> None:
    faulty.always(response, then="reset")
    gate = await start_gate(faulty.url)
    async with asyncio.timeout(5):
        with pytest.raises((ClientPayloadError, ClientConnectionError)):
            await whole(client, gate)


async def test_silence_before_the_head_is_504(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    faulty.always(b"", then="stall")
    gate = await start_gate(faulty.url, upstream_read_timeout=0.3)
    began = time.monotonic()
    assert (await gate.request(PREFIX + "/x")).startswith(b"HTTP/1.1 504")
    assert time.monotonic() - began < 3


async def test_a_head_that_comes_in_pieces_arrives(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    async def script(wire: Wire) -> None:
        await wire.throttle(OK_HEAD + b"Content-Length: 2\r\n\r\nok", 4, 0.02)

    faulty.script = script
    gate = await start_gate(faulty.url)
    assert (await gate.request(PREFIX + "/x")).endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
async def test_a_head_that_trickles_in_without_end_is_504(
    start_gate: GateFactory, faulty: FaultyUpstream, before: bytes
) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(before)
        await wire.throttle(OK_HEAD + b"X-A: b\r\n" * 1000, 1, 0.05)

    faulty.script = script
    gate = await start_gate(faulty.url, upstream_read_timeout=0.4)
    response = await gate.request(PREFIX + "/x", timeout=5)
    assert b"HTTP/1.1 504" in response


async def test_silence_within_a_body_breaks_it_off(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession
) -> None:
    faulty.always(OK_HEAD + b"Content-Length: 100\r\n\r\nonly this", then="stall")
    gate = await start_gate(faulty.url, upstream_read_timeout=0.3)
    async with asyncio.timeout(3), client.get(gate.proxy_url + "/x") as response:
        with pytest.raises((ClientPayloadError, ClientConnectionError)):
            await response.read()


async def test_interim_responses_pass_before_the_final_one(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    faulty.always(
        b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    )
    gate = await start_gate(faulty.url)
    response = await gate.request(PREFIX + "/x")
    assert response.startswith(b"HTTP/1.1 103 ")
    assert b"\r\n\r\nHTTP/1.1 200 OK\r\n" in response


async def test_a_64_kb_header_of_an_honest_upstream_passes(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    value = b"a" * 60_000
    faulty.always(OK_HEAD + b"X-Long: " + value + b"\r\nContent-Length: 0\r\n\r\n")
    gate = await start_gate(faulty.url)
    assert b"X-Long: " + value in await gate.request(PREFIX + "/x")


async def test_bytes_after_a_response_never_become_the_next_one(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    """Unsolicited bytes on a kept connection do not reach the next client."""

    async def script(wire: Wire) -> None:
        await wire.send(OK_HEAD + b"Content-Length: 5\r\n\r\nfirst")
        await asyncio.sleep(0.1)
        await wire.send(OK_HEAD + b"Content-Length: 6\r\n\r\nleaked")
        await wire.stall()

    faulty.script = script
    gate = await start_gate(faulty.url)
    gate.tokens.add("U" * 64, activated=True)  # both are admitted at once
    assert (await gate.request(PREFIX + "/x")).endswith(b"first")
    await asyncio.sleep(0.3)
    second = await gate.request(PREFIX + "/y", token="U" * 64)
    assert second.endswith(b"first")
    assert faulty.connections == 2


async def test_a_response_longer_than_declared_does_not_poison_a_connection(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    faulty.always(
        OK_HEAD + b"Content-Length: 5\r\n\r\nfirst" + OK_HEAD + b"Content-Length: 1\r\n\r\nx",
        then="stall",
    )
    gate = await start_gate(faulty.url)
    for _ in range(3):
        response = await gate.request(PREFIX + "/x")
        assert response.endswith(b"first") or response.startswith(b"HTTP/1.1 502")
    assert faulty.connections == 3


async def test_chunks_in_http_10_arrive_and_end_the_connection(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    """RFC 9112, 6.1: the framing is faulty, so the connection is closed after the response."""
    faulty.always(
        b"HTTP/1.0 200 OK\r\nContent-Type: a/b\r\nConnection: keep-alive\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        then="stall",
    )
    gate = await start_gate(faulty.url)
    for _ in range(2):
        response = await gate.request(PREFIX + "/x", timeout=5)
        assert response.endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    assert faulty.connections == 2


@pytest.mark.parametrize(
    ("kind", "headers"),
    [
        # HTML under a prefix is rewritten, and this client can't unpack by itself.
        (b"text/html", {}),
        (b"image/x-bitmap", {"X-Device-ID": "0123456789abcdef0123"}),
    ],
)
async def test_a_decompression_bomb_is_broken_off(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    client: ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    kind: bytes,
    headers: dict[str, str],
) -> None:
    """A body that the gate decompresses has a limit."""
    bomb = gzip.compress(b"<p>" + b"\0" * 60_000_000, 9)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Encoding: gzip\r\n" % kind
    faulty.always(head + b"Content-Length: %d\r\n\r\n" % len(bomb) + bomb)
    gate = await start_gate(faulty.url)
    engine = gate.app[ENGINE]
    monkeypatch.setattr(engine, "budget", replace(engine.budget, expanded=5_000_000))
    async with asyncio.timeout(30), client.get(gate.proxy_url + "/x", headers=headers) as response:
        with pytest.raises((ClientPayloadError, ClientConnectionError)):
            await response.read()


async def test_an_empty_response_passes_unchanged(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    """Even one that could have been a page: there is nothing in it to rewrite."""
    faulty.always(
        b'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nETag: "e"\r\nContent-Length: 0\r\n\r\n'
    )
    gate = await start_gate(faulty.url)
    response = await gate.request(PREFIX + "/x", "Accept: text/html")
    assert b"\r\nContent-Length: 0\r\n" in response
    assert b'\r\nETag: "e"\r\n' in response
    assert b"chunked" not in response


async def test_an_unreachable_upstream_is_a_page_for_browsers_and_json_for_programs(
    start_gate: GateFactory, free_port: int
) -> None:
    gate = await start_gate(f"http://127.0.0.1:{free_port}")
    page = await gate.request(PREFIX + "/x", "Accept: text/html")
    assert b"Content-Type: text/html" in page
    assert b"can&#x27;t be reached" in page or b"can't be reached" in page
    assert str(free_port).encode() not in page.replace(str(gate.port).encode(), b"")
    data = await gate.request(PREFIX + "/x", "Accept: application/json")
    assert b'"code": "upstream_unreachable"' in data


async def test_a_full_pool_waits_and_then_responds_503(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession
) -> None:
    """Waiting for a connection has a separate timeout, longer here than that of connecting."""
    faulty.always(b"", then="stall")
    gate = await start_gate(
        faulty.url,
        upstream_max_connections=1,
        upstream_connect_timeout=0.1,
        upstream_queue_timeout=0.5,
        upstream_read_timeout=2,
    )
    first = asyncio.ensure_future(gate.request(PREFIX + "/x"))
    await asyncio.sleep(0.1)
    assert (await gate.request(PREFIX + "/y")).startswith(b"HTTP/1.1 503")
    assert (await first).startswith(b"HTTP/1.1 504")


async def test_bytes_after_the_last_chunk_end_the_connection(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    """Also if they are only the beginning of another response."""
    faulty.always(
        OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nX-",
        then="stall",
    )
    gate = await start_gate(faulty.url)
    for _ in range(2):
        got = await gate.request(PREFIX + "/x", timeout=5)
        assert got.endswith(b"\r\n\r\n5\r\nfirst\r\n0\r\n\r\n")
    assert faulty.connections == 2

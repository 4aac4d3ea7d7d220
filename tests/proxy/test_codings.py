"""Content codings of the upstream, taken off for rewriting or for a client that takes identity."""

import asyncio
import gzip
import zlib
from dataclasses import replace

import brotli
import pytest
import zstandard
from aiohttp import ClientConnectionError, ClientPayloadError, ClientSession

from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, GateFactory, RunningGate
from zenzefi.proxy.setup import ENGINE

PLAIN = b"a{background:url(/x)}" * 40
MAPPED = PLAIN.replace(b"(/x", b"(/api/v1/proxy/x")
zstd = zstandard.ZstdCompressor().compress

# A page for a browser, which is rewritten; and anything for the desktop client, which drops
# Content-Encoding and so gets identity.
READERS = {
    "rewritten": (b"text/css", ("Accept-Encoding: identity",), MAPPED),
    "identity": (b"image/x-any", ("X-Device-ID: 0123456789abcdef0123",), PLAIN),
}
CODED = {
    "gzip members": ("gzip", gzip.compress(PLAIN[:100]) + gzip.compress(PLAIN[100:])),
    "empty members": ("x-gzip", gzip.compress(b"") + gzip.compress(PLAIN) + gzip.compress(b"")),
    "zstd frames": ("zstd", zstd(PLAIN[:7]) + zstd(b"") + zstd(PLAIN[7:])),
    "deflate": ("deflate", zlib.compress(PLAIN)),
    "raw deflate": ("deflate", zlib.compress(PLAIN)[2:-4]),
    "layers": ("br, identity, gzip", gzip.compress(brotli.compress(PLAIN))),
}


def head(kind: bytes, coding: str, *more: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Type: " + kind, b"Content-Encoding: " + coding.encode()]
    return b"\r\n".join([*lines, *more, b"Connection: close", b"", b""])


def in_parts(faulty: FaultyUpstream, start: bytes, parts: list[bytes]) -> None:
    """Each part is a separate chunk and arrives separately."""

    async def script(wire: Wire) -> None:
        await wire.send(start)
        for part in parts:
            await wire.send(b"%x\r\n%b\r\n" % (len(part), part))
            await asyncio.sleep(0.002)
        await wire.send(b"0\r\n\r\n")

    faulty.script = script


async def whole(client: ClientSession, gate: RunningGate, headers: dict[str, str]) -> bytes:
    """The whole body. Raises for a broken body, and for a 502 if it broke before the head."""
    async with client.get(gate.proxy_url + "/x", headers=headers) as response:
        if response.status == 502:
            raise ClientPayloadError
        return await response.read()


def unchunked(response: bytes) -> bytes:
    top, _, body = response.partition(b"\r\n\r\n")
    if b"chunked" not in top:
        return body
    out = []
    while body:
        size, _, body = body.partition(b"\r\n")
        out.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return b"".join(out)


@pytest.mark.parametrize("reader", sorted(READERS))
@pytest.mark.parametrize("name", sorted(CODED))
async def test_nothing_is_lost_wherever_a_body_is_cut(
    start_gate: GateFactory, faulty: FaultyUpstream, reader: str, name: str
) -> None:
    kind, lines, expected = READERS[reader]
    coding, body = CODED[name]
    gate = await start_gate(faulty.url)
    border = body.find(b"\x1f\x8b\x08", 1)  # the end of a member: where a piece may end too
    for at in {1, 2, max(border, 3), len(body) // 2, len(body) - 1}:
        in_parts(faulty, head(kind, coding, b"Transfer-Encoding: chunked"), [body[:at], body[at:]])
        response = await gate.request(PREFIX + "/x", *lines)
        assert unchunked(response) == expected
        assert b"content-encoding" not in response.lower()


@pytest.mark.parametrize("reader", sorted(READERS))
@pytest.mark.parametrize("fault", ["garbage", "cut", "a cut member"])
async def test_a_truncated_or_overlong_compressed_body_is_broken_off(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession, reader: str, fault: str
) -> None:
    kind, lines, _ = READERS[reader]
    body = gzip.compress(PLAIN)
    body = {"garbage": body + b"more", "cut": body[:-9], "a cut member": body + body[:20]}[fault]
    faulty.always(head(kind, "gzip", b"Content-Length: %d" % len(body)) + body)
    gate = await start_gate(faulty.url)
    headers = dict(line.split(": ") for line in lines)
    with pytest.raises((ClientPayloadError, ClientConnectionError)):
        await whole(client, gate, headers)


@pytest.mark.parametrize("coding", ["gzip, aes128gcm", "dcz", "gzip, gzip, gzip, gzip"])
@pytest.mark.parametrize("reader", sorted(READERS))
async def test_codings_that_are_not_taken_off_stay_named(
    start_gate: GateFactory, faulty: FaultyUpstream, reader: str, coding: str
) -> None:
    kind, lines, _ = READERS[reader]
    faulty.always(head(kind, coding, b"Content-Length: 5") + b"bytes")
    gate = await start_gate(faulty.url)
    response = await gate.request(PREFIX + "/x", *lines)
    assert f"Content-Encoding: {coding}".encode() in response
    assert response.endswith(b"\r\n\r\nbytes")


@pytest.mark.parametrize("reader", sorted(READERS))
@pytest.mark.parametrize("length", [b"Content-Length: 0", b"Transfer-Encoding: chunked"])
async def test_an_empty_body_needs_no_coding(
    start_gate: GateFactory, faulty: FaultyUpstream, reader: str, length: bytes
) -> None:
    kind, lines, _ = READERS[reader]
    faulty.always(head(kind, "gzip", length) + (b"0\r\n\r\n" if b"chunked" in length else b""))
    gate = await start_gate(faulty.url)
    response = await gate.request(PREFIX + "/x", *lines)
    assert response.startswith(b"HTTP/1.1 200")
    assert unchunked(response) == b""


@pytest.mark.parametrize("reader", sorted(READERS))
async def test_a_head_names_the_coding_that_a_get_would_have(
    start_gate: GateFactory, faulty: FaultyUpstream, reader: str
) -> None:
    kind, lines, _ = READERS[reader]
    faulty.always(head(kind, "gzip", b"Content-Length: 500"))
    gate = await start_gate(faulty.url)
    response = await gate.request(PREFIX + "/x", *lines, method="HEAD")
    assert response.startswith(b"HTTP/1.1 200")
    assert b"content-encoding" not in response.lower()
    response = await gate.request(PREFIX + "/x", "Accept-Encoding: gzip", method="HEAD")
    assert b"content-encoding: gzip" in response.lower()


BOMBS = {
    "empty members": (
        "gzip, gzip, gzip",
        gzip.compress(gzip.compress(gzip.compress(b"") * 2_000_000)),
    ),
    "frames": ("zstd, gzip", gzip.compress(zstd(b"") * 500_000)),
    "rle blocks": (
        "zstd",
        b"\x28\xb5\x2f\xfd\x00\x38" + b"\x02\x00\x10\0" * 8000 + b"\x0b\x00\x00\0",
    ),
}


@pytest.mark.parametrize("reader", sorted(READERS))
@pytest.mark.parametrize("name", sorted(BOMBS))
async def test_a_layered_decompression_bomb_is_stopped_without_delaying_others(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    client: ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    reader: str,
    name: str,
) -> None:
    """Others get their turns all the while: the loop turns once for each small step of work."""
    kind, lines, _ = READERS[reader]
    coding, bomb = BOMBS[name]
    faulty.always(head(kind, coding, b"Content-Length: %d" % len(bomb)) + bomb)
    gate = await start_gate(faulty.url)
    engine = gate.app[ENGINE]
    monkeypatch.setattr(engine, "budget", replace(engine.budget, expanded=8_000_000))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(others())
    try:
        headers = dict(line.split(": ") for line in lines)
        with pytest.raises((ClientPayloadError, ClientConnectionError)):
            await whole(client, gate, headers)
    finally:
        task.cancel()
    assert turns >= 8_000_000 // (2 * 128 * 1024)

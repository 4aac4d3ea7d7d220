"""Text of a page reaches the browser while the upstream is still writing."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientSession

from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, GateFactory

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


OWN_ORIGIN = "app.gate.test"
MOUNTS = {
    "prefix": (PREFIX, {}),
    "own-origin": ("", {"Host": OWN_ORIGIN}),
    "client": (PREFIX, {"X-Device-ID": "d" * 20}),
}
FIRST = {
    "text/html": b"<p>The lamp",
    "text/plain": b"The lamp",
    "text/css": b"a { color: red }\n",
    "text/javascript": b"lamp();\n",
    "application/json": b'[{"lamp": 1}, ',
    "application/x-ndjson": b'{"lamp": 1}\n',
    "application/manifest+json": b'{"name": "lamp", ',
    "text/xml": b"<?xml version='1.0'?>",
    "application/xml": b"<lamps><lamp/>",
    "image/svg+xml": b"<svg><g/>",
    "application/xhtml+xml": b"<html><p>The lamp</p>",
    "application/rss+xml": b"<rss><channel>",
    "application/vnd.apple.mpegurl": b"#EXTM3U\n",
    "text/event-stream": b"data: lamp\n\n",
    "": b"The lamp, which has no type",
}


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize("kind", FIRST)
async def test_every_type_leaves_while_the_upstream_writes(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession, kind: str, mount: str
) -> None:
    was_read = asyncio.Event()
    first = FIRST[kind]
    label = f"Content-Type: {kind}\r\n" if kind else ""

    async def script(wire: Wire) -> None:
        head = f"HTTP/1.1 200 OK\r\n{label}Transfer-Encoding: chunked\r\n\r\n"
        await wire.send(head.encode() + b"%x\r\n%b\r\n" % (len(first), first))
        await was_read.wait()
        await wire.send(b"1\r\n \r\n0\r\n\r\n")

    faulty.script = script
    gate = await start_gate(faulty.url, proxy_host=OWN_ORIGIN)
    path, headers = MOUNTS[mount]
    for destination in ("empty", "document"):
        was_read.clear()
        asked = {**headers, "Sec-Fetch-Dest": destination}
        async with asyncio.timeout(20), client.get(f"{gate.url}{path}/", headers=asked) as response:
            seen = b""
            while not seen.endswith(first.rstrip()) and not seen.endswith(first):
                seen += await response.content.readany()
            was_read.set()
            await response.read()

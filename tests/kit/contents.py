"""Requests with content on raw connections, and an upstream that records them."""

from __future__ import annotations

import asyncio

from tests.kit.faulty_upstream import FaultyUpstream, Wire, write
from tests.kit.proxy_gates import PREFIX, TOKEN
from tests.kit.raw_connections import RawConnection
from tests.kit.request_model import ReceivedRequest, read_request, response_to

NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"


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
    lines += ["X-Request-ID: contents-1", *headers]
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

"""Received bytes reach the other side even if a connection has broken meanwhile."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory
from tests.kit.waiting import until
from zenzefi.tokens.access import TokenAccess

pytestmark = pytest.mark.every_loop

REFUSAL = (
    b"HTTP/1.1 413 Content Too Large\r\nContent-Type: a/b\r\nContent-Length: 9\r\n\r\ntoo large"
)


def upload(length: int, *, is_chunked: bool = False) -> bytes:
    framing = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {length}"
    lines = [f"POST {PREFIX}/x HTTP/1.1", "Host: gate.test", f"X-Access-Token: {TOKEN}", framing]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_refusal_that_came_before_a_failed_write_arrives(
    start_gate: GateFactory, ending: str, is_chunked: bool
) -> None:
    """The upstream refuses at the head and ends; the gate notices when it writes the content."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gate = await start_gate(f"http://127.0.0.1:{listener.getsockname()[1]}")
        for turns in range(12):
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
            writer.write(upload(1_000_000, is_chunked=is_chunked))
            upstream, _ = await asyncio.to_thread(listener.accept)
            await asyncio.to_thread(upstream.recv, 65536)
            piece = b"z" * 50_000
            if is_chunked:
                piece = b"%x\r\n%b\r\n" % (len(piece), piece)
            writer.write(piece)
            await asyncio.to_thread(upstream.recv, 1000)  # the rest stays unread
            writer.write(piece)
            for _ in range(turns):  # between the gate's reading of this piece and its writing
                await asyncio.sleep(0)
            upstream.send(REFUSAL)
            if ending == "reset":
                upstream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            upstream.close()  # with unread data: a reset as well (RFC 2525, 2.17)
            for _ in range(4):
                writer.write(piece)
            async with asyncio.timeout(10):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 413 "), head
                assert await reader.readexactly(9) == b"too large"
            writer.transport.abort()
            await asyncio.sleep(0)


async def test_frames_behind_the_101_arrive_on_the_first_use_of_a_token(
    start_gate: GateFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token is activated between the 101 and the relay; the upstream has closed meanwhile."""
    accepted = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    upgrade = (
        f"GET {PREFIX}/s HTTP/1.1\r\nHost: gate.test\r\nX-Access-Token: {TOKEN}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    frames = b"\x82\x05first\x82\x04last\x88\x02\x03\xe8"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gate = await start_gate(f"http://127.0.0.1:{listener.getsockname()[1]}")
        gate.tokens.add()
        is_sent = asyncio.Event()
        activate = gate.tokens.activate

        async def activate_later(access: TokenAccess) -> TokenAccess:
            await is_sent.wait()
            return await activate(access)

        monkeypatch.setattr(gate.tokens, "activate", activate_later)
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(upgrade.encode())
        upstream, _ = await asyncio.to_thread(listener.accept)
        await asyncio.to_thread(upstream.recv, 65536)
        upstream.send(accepted + frames[:7])
        upstream.send(frames[7:])
        upstream.close()
        await until(lambda: not gate.gate.upstream.connections)
        is_sent.set()
        async with asyncio.timeout(5):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
            assert await reader.readexactly(len(frames)) == frames
        writer.close()


async def test_frames_that_came_before_a_failed_write_arrive(start_gate: GateFactory) -> None:
    """The upstream of a WebSocket sends its last frames and resets; the browser still sends."""
    accepted = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    upgrade = (
        f"GET {PREFIX}/s HTTP/1.1\r\nHost: gate.test\r\nX-Access-Token: {TOKEN}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    goodbye = b"\x82\x04last\x88\x02\x03\xe8"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gate = await start_gate(f"http://127.0.0.1:{listener.getsockname()[1]}")
        for turns in range(6):
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
            writer.write(upgrade.encode())
            upstream, _ = await asyncio.to_thread(listener.accept)
            await asyncio.to_thread(upstream.recv, 65536)
            upstream.send(accepted)
            await reader.readuntil(b"\r\n\r\n")
            frame = b"\x82\xfe\x10\x00\0\0\0\0" + b"z" * 4096
            writer.write(frame)
            await asyncio.to_thread(upstream.recv, 10)
            writer.write(frame)
            for _ in range(turns):
                await asyncio.sleep(0)
            upstream.send(goodbye)
            upstream.close()
            writer.write(frame)
            async with asyncio.timeout(5):
                assert await reader.readexactly(len(goodbye)) == goodbye
            writer.transport.abort()
            await asyncio.sleep(0)

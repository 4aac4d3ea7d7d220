"""WebSockets as bytes on sockets: handshakes, frames and ends, without a library in between."""

from __future__ import annotations

import asyncio
import socket
import struct

from tests.kit.proxy_gates import PREFIX, TOKEN
from tests.kit.raw_connections import WEBSOCKET_UPGRADE

HANDSHAKE = "\r\n".join(
    [
        f"GET {PREFIX}/socket HTTP/1.1",
        "Host: gate.test",
        f"X-Access-Token: {TOKEN}",
        *WEBSOCKET_UPGRADE,
        "",
        "",
    ]
).encode()
"""A browser's opening handshake."""

ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
"""An upstream's response to :data:`HANDSHAKE`."""


def frame(payload: bytes, *, opcode: int = 2, masked: bool = False) -> bytes:
    """One whole frame; the mask is zero, so that the payload stays readable."""
    size, bit = len(payload), 0x80 if masked else 0
    if size < 126:
        length = bytes((bit | size,))
    elif size < 65536:
        length = bytes((bit | 126,)) + size.to_bytes(2, "big")
    else:
        length = bytes((bit | 127,)) + size.to_bytes(8, "big")
    return bytes((0x80 | opcode,)) + length + (b"\0\0\0\0" if masked else b"") + payload


def reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def receive_all(sock: socket.socket, *, within: float = 10) -> bytes:
    """The bytes up to the end of the connection."""
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    received = b""
    async with asyncio.timeout(within):
        try:
            while data := await loop.sock_recv(sock, 65536):
                received += data
        except ConnectionError:
            pass
    return received


async def receive_exactly(sock: socket.socket, count: int, *, within: float = 10) -> bytes:
    """The next ``count`` bytes; fewer if the connection ends before."""
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    received = b""
    async with asyncio.timeout(within):
        while len(received) < count and (data := await loop.sock_recv(sock, count - len(received))):
            received += data
    return received


async def receive_head(sock: socket.socket, *, within: float = 10) -> bytes:
    """The bytes up to the first empty line."""
    received = b""
    async with asyncio.timeout(within):
        while not received.endswith(b"\r\n\r\n"):
            data = await receive_exactly(sock, 1, within=within)
            if not data:
                break
            received += data
    return received

"""Upstream of the benchmark: a raw protocol that sends prepared bytes and needs little CPU.

The paths of :mod:`bench.proxy.content` return its bodies, after a request body of any size.
``/128m`` returns a large body, ``/sink`` reads one. ``/auth`` returns 204, for nginx's
``auth_request``. ``/echo`` is a WebSocket echo.
Run as ``python -m bench.proxy.upstream PORT``.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import struct
import sys
from typing import cast

from bench.proxy import content

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_BLOCK = memoryview(bytes(range(256)) * 1024)  # 256 KiB
_HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    b"Content-Type: application/octet-stream\r\nCache-Control: max-age=60\r\n"
    b'ETag: "bench"\r\nContent-Length: %d\r\n\r\n'
)
LARGE = 128 * 1024 * 1024
_NO_CONTENT = b"HTTP/1.1 204 No Content\r\nServer: bench\r\n\r\n"
_READY = {**content.plain(), b"/auth": _NO_CONTENT}
_GZIPPED = content.gzipped()
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_ACCEPTS_GZIP = re.compile(rb"(?i)\r\naccept-encoding:[^\r]*gzip")
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection: a request at a time, or a WebSocket echo."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = b""
        self._to_read = 0  # bytes of a request body not yet received
        self._chunked = False
        self._next = _NO_CONTENT  # the response after a request body
        self._to_write = 0  # bytes of a large response not yet sent
        self._paused = False
        self._frames: bytearray | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._frames is not None:
            self._frames += data
            self._echo(self._frames)
        elif self._to_read:
            self._to_read -= len(data)
            if self._to_read <= 0:
                self._to_read = 0
                self.transport.write(self._next)
        elif self._chunked:
            if data.endswith(b"0\r\n\r\n"):
                self._chunked = False
                self.transport.write(self._next)
        else:
            self._buffer += data
            while (end := self._buffer.find(b"\r\n\r\n")) >= 0 and self._frames is None:
                head, self._buffer = self._buffer[: end + 4], self._buffer[end + 4 :]
                self._respond(head)

    def _respond(self, head: bytes) -> None:
        path = head.split(b" ", 2)[1]
        ready = _READY.get(path)
        if head.startswith(b"POST "):
            self._receive(head, ready or _NO_CONTENT)
        elif ready is not None:
            if path in _GZIPPED and _ACCEPTS_GZIP.search(head):
                ready = _GZIPPED[path]
            self.transport.write(ready)
        elif path == b"/128m":
            self.transport.write(_HEAD % LARGE)
            self._to_write = LARGE
            self._pump()
        elif path == b"/echo":
            found = re.search(rb"(?i)\r\nsec-websocket-key: *([^\r]+)", head)
            key = found[1] if found else b""
            accept = base64.b64encode(hashlib.sha1(key.strip() + _GUID).digest())
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            self._frames = bytearray(self._buffer)
            self._echo(self._frames)
        else:
            self.transport.write(_NOT_FOUND)

    def _receive(self, head: bytes, response: bytes) -> None:
        length = _LENGTH.search(head)
        self._next, early = response, self._buffer
        self._to_read = int(length[1]) if length else 0
        self._chunked, self._buffer = length is None, b""
        if early:
            self.data_received(early)

    def _pump(self) -> None:
        while self._to_write and not self._paused:
            size = min(len(_BLOCK), self._to_write)
            self._to_write -= size
            self.transport.write(_BLOCK[:size])

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._pump()

    def _echo(self, frames: bytearray) -> None:
        while len(frames) >= 2:
            size, offset = frames[1] & 0x7F, 2
            if size == 126:
                size, offset = int.from_bytes(frames[2:4], "big"), 4
            elif size == 127:
                size, offset = int.from_bytes(frames[2:10], "big"), 10
            end = offset + 4 + size
            if len(frames) < end:
                return
            mask = bytes(frames[offset : offset + 4])
            payload = bytes(frames[offset + 4 : end])
            if mask != b"\0\0\0\0":
                key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
                payload = (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")
            self.transport.write(frame(payload, opcode=frames[0] & 0x0F, masked=False))
            del frames[:end]


def frame(payload: bytes, *, opcode: int = 2, masked: bool) -> bytes:
    """One final WebSocket frame (RFC 6455, 5.2); masked with zeros, which needs no work."""
    flag = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, flag | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, flag | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, flag | 127, size)
    return head + (b"\0\0\0\0" if masked else b"") + payload


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(
        Upstream, "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


def main() -> None:
    """Serve on the port named by the first argument until killed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(int(sys.argv[1])))
    else:
        uvloop.run(_serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()

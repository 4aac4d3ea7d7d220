"""A fault-injecting upstream: raw bytes, delays, resets, half-closes, truncation, throttling."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable

Script = Callable[["Wire"], Awaitable[None]]


def write(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write; to a connection that is closed, nothing, as asyncio does (uvloop: RuntimeError)."""
    if not writer.transport.is_closing():
        writer.write(data)


class Wire:
    """One connection that came in, and its request's head."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = b""

    async def read_head(self) -> bytes:
        self.head = await self.reader.readuntil(b"\r\n\r\n")
        return self.head

    async def send(self, data: bytes, *, drain: bool = True) -> None:
        write(self.writer, data)
        if drain:
            await self.writer.drain()

    async def throttle(self, data: bytes, size: int, pause: float) -> None:
        """Send in pieces of ``size`` bytes with a pause in between."""
        for start in range(0, len(data), size):
            await self.send(data[start : start + size])
            await asyncio.sleep(pause)

    def half_close(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def stall(self) -> None:
        """Never respond."""
        await asyncio.sleep(3600)


class FaultyUpstream:
    """Runs :attr:`script` for every connection; set it before asking through the gate."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.script: Script = self._unscripted
        self._tls = tls
        self.connections = 0
        self.heads: list[bytes] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def _unscripted(self, wire: Wire) -> None:
        raise AssertionError("the test gave no script")

    @property
    def url(self) -> str:
        assert self._server is not None
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", 0, limit=2**20, ssl=self._tls
        )

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        wire = Wire(reader, writer)
        try:
            await wire.read_head()
            self.heads.append(wire.head)
            await self.script(wire)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    def hang_up(self) -> None:
        """End every connection that is open."""
        for writer in self._writers:
            writer.transport.abort()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._tasks)
        self.hang_up()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)

    def always(self, data: bytes, *, then: str = "close") -> None:
        """Respond to every request with these bytes, then ``close``, ``stall`` or ``reset``."""

        async def script(wire: Wire) -> None:
            await wire.send(data)
            if then == "stall":
                await wire.stall()
            elif then == "reset":
                await asyncio.sleep(0.05)
                wire.reset()

        self.script = script

    def keep_responding(self, *responses: bytes) -> None:
        """Keep connections open and respond to each request in turn; the last one repeats."""
        left = list(responses)

        async def script(wire: Wire) -> None:
            while True:
                await wire.send(left.pop(0) if len(left) > 1 else left[0])
                self.heads.append(await wire.read_head())

        self.script = script


OK_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n"
"""The beginning of a response of a type that nothing rewrites."""
IMAGE_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 5\r\n\r\nimage"

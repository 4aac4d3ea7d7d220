"""TLS on a raw socket, so that a test decides when each record is sent."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl


class TlsSocket:
    """A client's connection with TLS; nothing is verified."""

    def __init__(self, port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setblocking(False)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out)

    async def shake_hands(self) -> None:
        """Make the TLS handshake."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                await self._receive()
            else:
                self._flush()
                return

    def send(self, data: bytes) -> None:
        """Send bytes at once; they must fit into the socket's buffer."""
        self._tls.write(data)
        self._flush()

    def send_end(self) -> None:
        """Send the closure alert (close_notify) and the end of the stream."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()
        self.sock.shutdown(socket.SHUT_WR)

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""
        while True:
            try:
                return self._tls.read(65536)
            except ssl.SSLWantReadError:
                if not await self._receive():
                    return b""
            except ssl.SSLError:  # after the closure alert
                return b""

    async def read_until(self, end: bytes) -> bytes:
        """The bytes up to ``end``."""
        received = b""
        async with asyncio.timeout(10):
            while end not in received:
                data = await self.read()
                if not data:
                    break
                received += data
        return received

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def _flush(self) -> None:
        if data := self._out.read():
            self.sock.sendall(data)

    async def _receive(self) -> bool:
        async with asyncio.timeout(10):
            data = await asyncio.get_running_loop().sock_recv(self.sock, 65536)
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()
        return bool(data)

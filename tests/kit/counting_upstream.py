"""An upstream that counts the connections which are open at the same time."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
from typing import Any, ClassVar, cast

SEEN = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 2\r\n\r\nok"


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n"


ACCEPT = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


class CountingUpstream(asyncio.Protocol):
    """Serves by path, and counts the connections that are open at the same time."""

    server: ClassVar[asyncio.Server]
    url: ClassVar[str]
    open: ClassVar[set[CountingUpstream]]
    made: ClassVar[int]
    most: ClassVar[int] = 0
    held: ClassVar[list[CountingUpstream] | None]
    """Requests for ``/held``, until :meth:`release`."""

    @classmethod
    async def serve(cls) -> type[CountingUpstream]:
        kind: Any = type("Counting", (cls,), {"open": set(), "made": 0, "held": []})
        loop = asyncio.get_running_loop()
        kind.server = await loop.create_server(kind, "127.0.0.1", 0, backlog=4096)
        kind.url = f"http://127.0.0.1:{kind.server.sockets[0].getsockname()[1]}"
        upstream: type[CountingUpstream] = kind
        return upstream

    @classmethod
    def release(cls) -> None:
        """Respond to all requests for ``/held``, and from now on as to those for ``/slow``."""
        held, cls.held = cls.held or [], None
        for connection in held:
            connection.respond_slowly()

    @classmethod
    async def stop(cls) -> None:
        cls.server.close()
        for connection in list(cls.open):
            connection.transport.abort()
        await asyncio.sleep(0.01)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.data = b""
        self.is_socket = False
        kind = type(self)
        kind.made += 1
        kind.open.add(self)
        if len(kind.open) > kind.most:
            kind.most = max(kind.most, sum(not each.is_ended for each in kind.open))

    @property
    def is_ended(self) -> bool:
        """Whether the other side has closed it, even if the event loop has not noticed yet.

        The loop may accept a connection that was closed in the queue together with the one that was
        opened after it. The first byte of Linux's ``tcp_info`` is the state; 1 is established.
        """
        sock = self.transport.get_extra_info("socket")
        return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != b"\x01")

    def connection_lost(self, exc: Exception | None) -> None:
        type(self).open.discard(self)

    def data_received(self, data: bytes) -> None:
        self.data += data
        if self.is_socket:
            self.read_frames()
            return
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head, self.data = self.data[:end], self.data[end + 4 :]
            self.respond(head)

    def read_frames(self) -> None:
        """Short masked frames (RFC 6455, 5.2): a close ends the connection, the rest is ignored."""
        while len(self.data) >= 2 and len(self.data) >= (size := 6 + (self.data[1] & 0x7F)):
            if self.data[0] == 0x88:
                self.transport.close()
            self.data = self.data[size:]

    def respond(self, head: bytes) -> None:
        path = head.split(b" ")[1].partition(b"?")[0]
        held = type(self).held
        if path == b"/socket":
            key = head.lower().partition(b"sec-websocket-key:")[0]
            line = head[len(key) :].split(b":", 1)[1].split(b"\r\n")[0].strip()
            accept_key = hashlib.sha1(line + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            self.transport.write(
                ACCEPT + b"Sec-WebSocket-Accept: " + base64.b64encode(accept_key) + b"\r\n\r\n"
            )
            self.is_socket = True
        elif path == b"/events":
            self.transport.write(STREAM)
        elif path == b"/never":
            return
        elif path == b"/held" and held is not None:
            held.append(self)
        elif path in (b"/held", b"/slow"):
            self.respond_slowly()
        elif path == b"/last":
            self.transport.write(SEEN[:-2] + b"o")
        elif path == b"/cut":
            self.transport.write(SEEN[:-1])
            self.transport.close()
        elif path == b"/close":
            self.transport.write(SEEN.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))
            self.transport.close()
        elif head.startswith(b"HEAD "):
            self.transport.write(SEEN[:-2])
        else:
            self.transport.write(SEEN)

    def respond_slowly(self) -> None:
        asyncio.get_running_loop().call_later(0.05, self.transport.write, SEEN)


def token_header(token: str) -> dict[str, str]:
    return {"X-Access-Token": token}

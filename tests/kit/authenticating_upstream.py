"""An upstream that authenticates TCP connections (NTLM, Negotiate), and its handshake."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, cast

from tests.kit.proxy_gates import PREFIX, TOKEN
from tests.kit.raw_connections import RawConnection

_NONCES = itertools.count(1)


class AuthenticatingUpstream(asyncio.Protocol):
    """Three legs authenticate the connection; afterwards it serves all requests on it."""

    scheme = "NTLM"
    challenge = "WWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\n"
    always = ""
    server: ClassVar[asyncio.Server]
    url: ClassVar[str]
    open: ClassVar[set[AuthenticatingUpstream]]
    made: ClassVar[int]
    heads: ClassVar[list[tuple[AuthenticatingUpstream, str]]]

    @classmethod
    async def serve(cls, **attributes: str) -> type[AuthenticatingUpstream]:
        kind: Any = type("Upstream", (cls,), {"open": set(), "made": 0, "heads": [], **attributes})
        kind.server = await asyncio.get_running_loop().create_server(kind, "127.0.0.1", 0)
        kind.url = f"http://127.0.0.1:{kind.server.sockets[0].getsockname()[1]}"
        upstream: type[AuthenticatingUpstream] = kind
        return upstream

    @classmethod
    async def stop(cls) -> None:
        cls.server.close()
        cls.hang_up()
        await asyncio.sleep(0.01)

    @classmethod
    def hang_up(cls) -> None:
        for connection in list(cls.open):
            connection.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.data = b""
        self.user: str | None = None
        self.nonce: int | None = None
        type(self).made += 1
        type(self).open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        type(self).open.discard(self)

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head, self.data = self.data[:end].decode("latin-1"), self.data[end + 4 :]
            type(self).heads.append((self, head))
            lines = [line.partition(": ") for line in head.split("\r\n")[1:]]
            fields = {name.lower(): value for name, _, value in lines}
            self.data = self.data[int(fields.get("content-length", 0)) :]
            self.respond(head.split(" ")[1].partition("?")[0], fields)

    def respond(self, path: str, fields: dict[str, str]) -> None:
        scheme, _, credentials = fields.get("authorization", "").partition(" ")
        if path == "/break":
            self.transport.abort()
            return
        if path == "/half":
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 9\r\n\r\nx"
            )
            self.transport.close()
            return
        if scheme.lower() == self.scheme.lower():
            leg, _, rest = credentials.partition(".")
            if leg == "1":
                self.user, self.nonce = None, next(_NONCES)
                self.send_response(
                    401, f"WWW-Authenticate: {self.scheme} nonce.{self.nonce}\r\n", "more"
                )
                return
            user, _, nonce = rest.partition(".")
            if nonce != str(self.nonce):
                self.send_response(401, self.challenge, "wrong connection")
                return
            self.user = user
        if "upgrade" in fields and path == "/socket" and self.user is not None:
            self.upgrade(fields)
        elif self.user is None and path != "/open":
            self.send_response(401, self.challenge, "who are you")
        else:
            closing = "Connection: close\r\n" if path == "/close" else ""
            self.send_response(200, closing, f"you are {self.user or 'nobody'}")
            if closing:
                self.transport.close()

    def send_response(self, status: int, lines: str, text: str) -> None:
        self.transport.write(
            f"HTTP/1.1 {status} S\r\nContent-Type: image/png\r\nContent-Length: {len(text)}\r\n"
            f"{self.always}{lines}\r\n{text}".encode()
        )

    def upgrade(self, fields: dict[str, str]) -> None:
        key = fields["sec-websocket-key"].encode()
        accept_key = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        text = f"you are {self.user}".encode()
        self.transport.write(
            b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(accept_key) + b"\r\n\r\n"
            b"\x81" + bytes([len(text)]) + text
        )


async def first_legs(
    browser: RawConnection, token: str = TOKEN, scheme: str = "NTLM", path: str = "/page"
) -> str:
    """The challenge's nonce, after two of three legs."""
    assert (await browser.request(PREFIX + path, token=token)).start.startswith(b"HTTP/1.1 401")
    response = await browser.request(PREFIX + path, f"Authorization: {scheme} 1.", token=token)
    assert response.start.startswith(b"HTTP/1.1 401")
    line = next(h for h in response.headers if h.lower().startswith(b"www-authenticate"))
    return line.decode().rpartition(".")[2]


async def sign_in(
    browser: RawConnection, user: str, token: str = TOKEN, scheme: str = "NTLM"
) -> None:
    nonce = await first_legs(browser, token, scheme)
    last = f"Authorization: {scheme} 3.{user}.{nonce}"
    response = await browser.request(PREFIX + "/page", last, token=token)
    assert response.body == f"you are {user}".encode()


async def body(
    browser: RawConnection,
    path: str = "/page",
    *headers: str,
    token: str = TOKEN,
    method: str = "GET",
) -> bytes:
    return (await browser.request(PREFIX + path, *headers, token=token, method=method)).body


ServeAuthenticating = Callable[..., Awaitable[type[AuthenticatingUpstream]]]
"""Starts such an upstream; the fixture ``serve``."""

"""The gate's side of the wire to the browser: request content, and the response.

The response is written as bytes: aiohttp's own response objects decode and re-encode headers, and
lose what is not UTF-8 on the way (a ``Content-Disposition`` in latin-1, say).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion11

from zenzefi.errors import BadRequest
from zenzefi.http.errors import RequestTimeout
from zenzefi.http.expect_continue import expectation_of
from zenzefi.http.observation import BEGUN
from zenzefi.http.request_handler import STALL_SECONDS
from zenzefi.proxy.headers.pairs import Pairs

_BODYLESS = frozenset((204, 304))


class ClientBody:
    """The content of the browser's request; a ``RequestBody`` for the upstream."""

    def __init__(self, request: web.BaseRequest, idle_timeout: float) -> None:
        self.length = request.content_length
        self.expects_continue = (
            request.version == HttpVersion11 and expectation_of(request) is not None
        )
        self.received = 0
        self._request = request
        self._idle_timeout = idle_timeout

    def invite(self) -> None:
        """Send ``100 Continue`` (RFC 9110, 15.2.1)."""
        if not self._request.content.is_eof():
            write_interim(self._request, 100, ())

    async def read(self) -> bytes:
        """The next piece, ``b""`` at the end.

        Raises :class:`BadRequest` for broken framing and :class:`RequestTimeout` for a client that
        stopped sending (or disconnected: then the error is not sent).
        """
        try:
            async with asyncio.timeout(self._idle_timeout):
                piece = await self._request.content.readany()
        except web.RequestPayloadError:
            raise BadRequest("The request's content is not framed properly.") from None
        except (TimeoutError, OSError, RuntimeError):
            raise RequestTimeout from None
        self.received += len(piece)
        return piece


class ClientResponse(web.StreamResponse):
    """A response whose head is given as raw pairs, and whose body is streamed.

    ``length`` is the body's length in bytes, ``None`` if unknown (then it is chunked, or ends with
    the connection for HTTP/1.0). ``has_body`` is false for HEAD, 204 and 304.
    """

    def __init__(
        self, status: int, reason: bytes, pairs: Pairs, *, length: int | None, has_body: bool
    ) -> None:
        super().__init__(status=status)
        self._raw_reason = reason
        self._pairs = []
        for name, value in pairs:
            if name.lower() == b"content-type":  # aiohttp's face of it is read by other parts
                self.headers.add("Content-Type", value.decode("utf-8", "surrogateescape"))
            else:
                self._pairs.append((name, value))
        self._declared = length
        self._has_body = has_body
        self._is_chunked = False
        self._request: web.BaseRequest | None = None
        self._is_begun = False
        self.sent = 0

    @property
    def body_length(self) -> int:
        """Bytes of the body so far."""
        return self.sent

    @property
    def is_begun(self) -> bool:
        """Whether the head was sent, so that no other response is possible."""
        return self._is_begun

    async def begin(
        self, request: web.BaseRequest, first: bytes, *, is_last: bool, keep_alive: bool = True
    ) -> None:
        """Send the head and the first piece of the body in one write.

        Raises ``ConnectionResetError`` if the browser is gone.
        """
        self._request = request
        request[BEGUN] = self
        if isinstance(request, web.Request):
            await request._prepare_hook(self)
        head = self._head(request, keep_alive=keep_alive)
        if self._has_body and self._is_chunked:
            body = b"%x\r\n%b\r\n" % (len(first), first) if first else b""
            body += b"0\r\n\r\n" if is_last else b""
        else:
            body = first if self._has_body else b""
        self._is_begun = True
        self._write(head + body)
        self.sent += len(first)
        await self._drain()

    async def begin_upgrade(self, request: web.BaseRequest) -> None:
        """Send the head of a 101; the caller owns the transport afterwards."""
        self._request = request
        request[BEGUN] = self
        if isinstance(request, web.Request):
            await request._prepare_hook(self)
        lines = [b"HTTP/1.1 101 " + self._raw_reason]
        lines += [b"%b: %b" % pair for pair in self._pairs]
        lines += [_line(name, value) for name, value in self.headers.items()]
        lines += [b"Connection: Upgrade", b"Upgrade: websocket"]
        self._is_begun = True
        self._keep_alive = False
        self._write(b"\r\n".join(lines) + b"\r\n\r\n")
        self._request = None  # no cycle: see zenzefi.runtime.memory

    def _head(self, request: web.BaseRequest, *, keep_alive: bool) -> bytes:
        is_11 = request.version >= HttpVersion11
        lines = [b"HTTP/1.%d %d %b" % (int(is_11), self.status, self._raw_reason)]
        lines += [b"%b: %b" % pair for pair in self._pairs]
        lines += [_line(name, value) for name, value in self.headers.items()]
        # False here means that a signal (drain) has asked for the end of the connection.
        keep = keep_alive and bool(request.keep_alive) and self._keep_alive is not False
        if self._declared is not None and self.status != 204:
            lines.append(b"Content-Length: %d" % self._declared)
        elif self._has_body:
            if is_11:
                self._is_chunked = True
                lines.append(b"Transfer-Encoding: chunked")
            else:
                keep = False
        if is_11 and not keep:
            lines.append(b"Connection: close")
        elif keep and not is_11:
            lines.append(b"Connection: keep-alive")
        self._keep_alive = keep
        return b"\r\n".join(lines) + b"\r\n\r\n"

    async def send(self, data: bytes) -> None:
        """Send a piece of the body; waits while the browser is slower.

        Raises ``ConnectionResetError`` if the browser is gone or takes nothing for minutes.
        """
        if not data or not self._has_body:
            return
        self.sent += len(data)
        self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)
        await self._drain()

    async def finish(self) -> None:
        """End the body cleanly."""
        if self._has_body and self._is_chunked:
            self._write(b"0\r\n\r\n")

    def break_off(self) -> None:
        """End the connection so that the browser sees that the body is not complete.

        With a length or chunks the missing end shows it, and the sent bytes still arrive; a body
        that ends with the connection (HTTP/1.0) needs a reset.
        """
        self._keep_alive = False
        transport = self._request.transport if self._request is not None else None
        if transport is None:
            return
        if self._is_chunked or self._declared is not None:
            transport.close()
        else:
            transport.abort()

    def _write(self, data: bytes) -> None:
        if self._request is None:
            raise RuntimeError("begin() comes first")
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the browser is gone")
        transport.write(data)

    async def _drain(self) -> None:
        """Wait while the buffer holds more than the browser reads.

        After a whole response too: a client that pipelines and never reads would fill memory.
        """
        if self._request is None:
            raise RuntimeError("begin() comes first")
        if not self._request.protocol.writing_paused:
            return
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await self._request.writer.drain()
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionResetError("the browser takes nothing") from None

    # --- what aiohttp's server asks of a response after the handler returned it

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Nothing: the head was written by :meth:`begin`."""
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing: :meth:`finish` or :meth:`break_off` has ended the body."""
        self._request = None


def _line(name: str, value: str) -> bytes:
    return f"{name}: {value}".encode("utf-8", "surrogateescape")


def write_interim(
    request: web.BaseRequest, status: int, pairs: Iterable[tuple[bytes, bytes]]
) -> None:
    """Send a 1xx response, unless the final one has begun (RFC 9110, 15.2).

    Clients of HTTP/1.0 know none of them.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        return
    if BEGUN in request or request.version < HttpVersion11:
        return
    transport.write(interim_head(status, pairs))


def interim_head(status: int, pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A 1xx response as bytes."""
    reason = b"Continue" if status == 100 else b""
    lines = [b"HTTP/1.1 %d %b" % (status, reason), *(b"%b: %b" % pair for pair in pairs)]
    return b"\r\n".join(lines) + b"\r\n\r\n"

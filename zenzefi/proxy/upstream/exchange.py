"""One request and its answer on one connection to the upstream.

The protocol is aiohttp's own client protocol with its hardened C parser (llhttp); the machinery
above it (sessions, redirects, cookie jars, decompression) is left out, because a gate needs none
of it and must see the bytes as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from typing import Protocol

from aiohttp import ClientError, ClientPayloadError, SocketTimeoutError
from aiohttp.http import HttpVersion11, RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from zenzefi.errors import GateError, UpstreamProtocolError
from zenzefi.http.framing import length_of
from zenzefi.proxy.errors import UpstreamTimeout, UpstreamUnreachable
from zenzefi.proxy.headers.rules import Pairs
from zenzefi.proxy.upstream.budget import Slot
from zenzefi.proxy.upstream.ownership import UpstreamConnection
from zenzefi.proxy.upstream.response_stream import ResponseStream

log = logging.getLogger(__name__)

_MAX_INTERIM = 16  # 1xx answers to one request; RFC 9110, 15.2 sets no limit, a flood needs one
_MAX_LINE = 64 * 1024
_MAX_FIELD = 64 * 1024
_MAX_FIELDS = 256
_READ_BUFFER = 128 * 1024  # bytes; reading pauses at twice of it
_CONTINUE_PATIENCE = 1.0  # seconds; RFC 9110, 10.1.1: a client must not wait for ever for a 100
_BODYLESS = frozenset((204, 304))
_SKIPPED = 1024 * 1024  # bytes of a body that are read for nothing


class BodyBroken(Exception):
    """The upstream's body ended before its end; ``error`` is what a client would be told."""

    def __init__(self, error: GateError) -> None:
        self.error = error
        super().__init__(error.code)


class RequestBody(Protocol):
    """The content of a request on its way to the upstream."""

    length: int | None
    """Bytes, or ``None`` if it is chunked."""

    expects_continue: bool

    async def read(self) -> bytes:
        """The next piece, ``b""`` at the end; raises a :class:`GateError` if it breaks off."""

    def invite(self) -> None:
        """Tell the client to send its content (100 Continue)."""


class UpstreamResponse(Protocol):
    """An answer that has begun: its head is here, its body is streamed.

    Whoever holds one calls :meth:`close` once, whatever happened.
    """

    status: int
    reason: bytes
    headers: Pairs
    length: int | None
    """The declared Content-Length, ``None`` without one (or with chunks)."""

    has_body: bool

    @property
    def closes_client(self) -> bool:
        """Whether the client's connection must end with this response, as the upstream's does."""

    def read_ready(self) -> bytes:
        """What has already arrived of the body, without waiting."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the body is still to come or to be read."""

    @property
    def failure(self) -> GateError | None:
        """What has broken the body already, if nothing of it is left to be read."""

    async def read(self) -> bytes:
        """The next piece of the body, ``b""`` at its end; raises :class:`BodyBroken`."""

    async def close(self) -> None:
        """Give the connection back if the exchange is complete, else break it off."""


def is_proper_end(transport: asyncio.BaseTransport | None) -> bool:
    """Whether the end of a connection, just received, comes from the upstream.

    Over TLS that takes its closure alert: a bare end could have been made by anybody between
    (RFC 9112, 9.8), and asyncio tells both in the same way.
    """
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    if tls is None:
        return True
    try:
        return not tls.read(1)  # nothing after the alert; without one OpenSSL wants to read on
    except ssl.SSLError:
        return False


class HttpConnection(ResponseStream, UpstreamConnection):
    """One connection to the upstream."""

    def __init__(self, loop: asyncio.AbstractEventLoop, slot: Slot) -> None:
        ResponseStream.__init__(self, loop)
        UpstreamConnection.__init__(self, slot)
        self.is_reused = False
        self.got_bytes = False
        self._got_eof = False
        self._is_head_due = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_seconds = 0.0

    def data_received(self, data: bytes) -> None:
        """Bytes nobody asked for must not become the beginning of somebody's answer."""
        if self.is_idle:
            self.abort()
            return
        self.got_bytes = True
        if self._is_head_due and self._head_timer is None:
            # Each byte ends a silence; a head that comes in drops must come to an end all the same.
            self._head_timer = self._loop.call_later(self._head_seconds, self._on_read_timeout)
        super().data_received(data)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """A head is complete."""
        self._stop_head_timer()
        self._is_head_due = 100 <= data[0].code < 200 and data[0].code != 101
        super().feed_data(data, size)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def eof_received(self) -> None:
        """The upstream has ended the connection."""
        self._got_eof = is_proper_end(self.transport)
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        """A reset does not end a read-until-close body.

        Neither does TLS without close_notify (truncation attack, RFC 9112 9.8).
        """
        if exc is not None:
            self.rescue()
        self._stop_head_timer()
        self.lost()
        payload = self._payload
        is_broken = exc is not None or not self._got_eof
        if is_broken and payload is not None and not payload.is_eof():
            payload.set_exception(ClientPayloadError("the connection broke"))
        super().connection_lost(exc)

    def begin(self, method: str, read_timeout: float) -> None:
        """Prepare for the answer to one request."""
        self.got_bytes = False
        self.expect_response()
        self._is_head_due = True
        self._head_seconds = read_timeout
        self.set_response_params(
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=read_timeout,
            read_bufsize=_READ_BUFFER,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_FIELD,
            max_headers=_MAX_FIELDS,
        )

    def detach(self) -> asyncio.Transport | None:
        """Its transport, which belongs to the caller from now on (a WebSocket)."""
        transport, self.transport = self.transport, None
        return transport

    async def drain(self) -> None:
        """Wait until the upstream has taken what was written."""
        await self._drain_helper()

    @property
    def is_usable(self) -> bool:
        """Whether another request may go over it."""
        return self.is_connected() and not self.should_close


class ConnectionPool(Protocol):
    """Where an exchange's connection came from and goes back to."""

    read_timeout: float

    def release(self, connection: HttpConnection, *, reusable: bool) -> None:
        """Take back a pooled connection."""


class UpstreamExchange:
    """One request and its answer on one connection; an :class:`UpstreamResponse` once started."""

    def __init__(self, upstream: ConnectionPool, connection: HttpConnection) -> None:
        self.status = 0
        self.reason = b""
        self.headers: Pairs = []
        self.length: int | None = None
        self.has_body = False
        self._is_last = False
        self.connection = connection
        self._upstream = upstream
        self._payload: StreamReader = EMPTY_PAYLOAD
        self._upload: asyncio.Task[None] | None = None
        self._invited = asyncio.Event()
        self._is_closed = False

    async def start(
        self,
        method: str,
        head: bytes,
        body: RequestBody | None,
        on_interim: Callable[[int, Pairs], None],
        *,
        may_upgrade: bool = False,
    ) -> None:
        """See :meth:`Upstream.send`."""
        connection = self.connection
        connection.begin(method, self._upstream.read_timeout)
        if connection.transport is None:
            raise UpstreamUnreachable
        connection.transport.write(head)
        if body is None:
            connection.start_timeout()
        else:
            self._upload = asyncio.create_task(self._send(body), name="upload to the upstream")
        message = await self._final_message(on_interim)
        self._accept(method, message, may_upgrade=may_upgrade)

    async def _final_message(self, on_interim: Callable[[int, Pairs], None]) -> RawResponseMessage:
        for _ in range(_MAX_INTERIM):
            message, payload = await self._next_message()
            if message.code == 101 or not 100 <= message.code < 200:
                self._payload = payload
                return message
            if message.code == 100:
                self._invited.set()
            else:
                on_interim(message.code, list(message.raw_headers))
            if self._upload is None or self._upload.done():
                self.connection.start_timeout()
        raise UpstreamProtocolError  # a flood of 1xx

    async def _next_message(self) -> tuple[RawResponseMessage, StreamReader]:
        """The next head, or what went wrong: with the upstream, or with the client's content."""
        upload = self._upload
        if upload is not None and not upload.done():
            reading = asyncio.create_task(
                self.connection.read(), name="waiting for the upstream's answer"
            )
            try:
                await asyncio.wait({reading, upload}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done() and upload.exception() is not None:
                    await upload  # the client's content broke: that is the error to tell
            except BaseException:
                reading.cancel()
                raise
            return await self._translated(reading)
        return await self._translated(self.connection.read())

    async def _translated(self, reading: object) -> tuple[RawResponseMessage, StreamReader]:
        try:
            return await reading  # type: ignore[misc, no-any-return]  # a future or a coroutine
        except (SocketTimeoutError, TimeoutError):
            raise UpstreamTimeout from None
        except HttpProcessingError as error:
            log.warning("upstream's answer is not valid HTTP: %s", type(error).__name__)
            raise UpstreamProtocolError from None
        except (ClientError, OSError, EOFError):
            raise UpstreamUnreachable from None

    def _accept(self, method: str, message: RawResponseMessage, *, may_upgrade: bool) -> None:
        if message.code == 101 and not may_upgrade:
            raise UpstreamProtocolError
        self.status = message.code
        self._is_last = message.should_close
        self.reason = message.reason.encode("utf-8", "surrogateescape")
        self.headers = list(message.raw_headers)
        codings = 0
        for name, value in self.headers:
            low = name.lower()
            if low == b"content-length":
                # RFC 9112, 6.3: differing or unparsable lengths make the message unusable.
                length = length_of(value)
                if length is None or self.length not in (None, length):
                    raise UpstreamProtocolError
                self.length = length
            elif low == b"transfer-encoding":
                codings += 1
                # RFC 9112, 6.1: no coding but chunked was asked for, and that one comes once.
                if codings > 1 or value.strip(b" \t").lower() != b"chunked":
                    raise UpstreamProtocolError
        if codings and self.length is not None:
            raise UpstreamProtocolError  # RFC 9112, 6.3: both framings are an attack or a bug
        if codings and message.version < HttpVersion11:
            # RFC 9112, 6.1: faulty framing; what follows it on this connection is not believed.
            self.connection.force_close()
        self.has_body = method != "HEAD" and self.status >= 200 and self.status not in _BODYLESS
        if not self.has_body:
            self._payload = EMPTY_PAYLOAD

    async def _send(self, body: RequestBody) -> None:
        """The upload: reads the client, writes the upstream, one piece at a time."""
        connection = self.connection
        timeout = self._upstream.read_timeout
        if body.expects_continue:
            try:
                async with asyncio.timeout(_CONTINUE_PATIENCE):
                    await self._invited.wait()
            except TimeoutError:
                pass
            body.invite()
        while True:
            try:
                piece = await body.read()
            except GateError:
                if self.status:  # the answer has begun: nobody can be told otherwise any more
                    self.abort()
                raise
            if connection.transport is None:
                return  # the upstream has answered and gone, or is gone: reading will tell
            if not piece:
                break
            if body.length is None:
                connection.transport.writelines((b"%x\r\n" % len(piece), piece, b"\r\n"))
            else:
                connection.transport.write(piece)
            try:
                async with asyncio.timeout(timeout):
                    await connection.drain()
            except (ClientError, OSError) as error:
                if isinstance(error, TimeoutError):
                    raise UpstreamTimeout from None
                return
        if body.length is None:
            connection.transport.write(b"0\r\n\r\n")
        connection.start_timeout()

    # --- the answer

    @property
    def closes_client(self) -> bool:
        """Whether the client's connection must end with this response, as the upstream's does."""
        return self._is_last and self.connection.owner is not None

    def read_ready(self) -> bytes:
        """What has already arrived of the body, without waiting."""
        return _here(self._payload)

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the body is still to come or to be read."""
        return self._payload is EMPTY_PAYLOAD or (
            self._payload.at_eof() and self._payload.exception() is None
        )

    async def read(self) -> bytes:
        """The next piece of the body, ``b""`` at its end; raises :class:`BodyBroken`."""
        if self.is_complete:
            return b""
        if self._payload.exception() is not None and (here := _here(self._payload)):
            return here
        try:
            return await self._payload.readany()
        except (ClientError, HttpProcessingError, OSError, RuntimeError, EOFError) as error:
            raise BodyBroken(_error_for(error)) from None

    @property
    def failure(self) -> GateError | None:
        """What has broken the body already, if nothing of it is left to be read."""
        error = self._payload.exception()
        return None if error is None or self._payload._buffer else _error_for(error)

    def abort(self) -> None:
        """Break it off at once; a pending :meth:`read` ends with :class:`BodyBroken`."""
        payload = self._payload
        if payload is not EMPTY_PAYLOAD and not payload.is_eof():
            payload.set_exception(ClientPayloadError("broken off by the gate"))
        self.connection.abort()

    async def skip(self) -> None:
        """Close it unread. What a client's own connection still has to bring is read, within
        bounds, because another connection could not take its place."""
        if self.connection.owner is not None:
            left = _SKIPPED
            with contextlib.suppress(BodyBroken):
                while left > 0 and (piece := await self.read()):
                    left -= len(piece)
        await self.close()

    async def close(self) -> None:
        """Give the connection back if the exchange is complete, else break it off."""
        if self._is_closed:
            return
        self._is_closed = True
        upload = self._upload
        sent = upload is None or (
            upload.done() and not upload.cancelled() and not upload.exception()
        )
        if upload is not None and not upload.done():
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)
        reusable = sent and self.status >= 200 and self.is_complete
        self._upstream.release(self.connection, reusable=reusable)


def _here(content: StreamReader) -> bytes:
    """What has arrived of a body, also if it broke afterwards: that much is delivered."""
    return b"" if content is EMPTY_PAYLOAD else content._read_nowait(-1)


def _error_for(broken: BaseException) -> GateError:
    """What a client would be told of a body that broke in this way."""
    if isinstance(broken, TimeoutError):  # aiohttp's SocketTimeoutError is one, too
        return UpstreamTimeout()
    if isinstance(broken, (ClientPayloadError, HttpProcessingError)):
        return UpstreamProtocolError()
    return UpstreamUnreachable()

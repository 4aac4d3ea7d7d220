"""One request and its response on one connection to the upstream."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Protocol

from aiohttp import ClientError, ClientPayloadError, SocketTimeoutError
from aiohttp.http import HttpVersion11, RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from zenzefi.errors import GateError, UpstreamProtocolError
from zenzefi.http.framing import length_of
from zenzefi.proxy.errors import UpstreamTimeout, UpstreamUnreachable
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.upstream.http_connection import HttpConnection

log = logging.getLogger(__name__)

_MAX_INTERIM = 16  # 1xx responses to one request; RFC 9110, 15.2 sets no limit
_CONTINUE_SECONDS = 1.0  # RFC 9110, 10.1.1: a client must not wait forever for a 100
_BODYLESS = frozenset((204, 304))
_MAX_SKIPPED = 1024 * 1024  # bytes of an unwanted body that are read to keep its connection


class BodyBroken(Exception):
    """The body of a response is truncated or malformed; ``error`` is the error for the client."""

    def __init__(self, error: GateError) -> None:
        self.error = error
        super().__init__(error.code)


class RequestBody(Protocol):
    """The content of a request on its way to the upstream."""

    length: int | None
    """Bytes, or ``None`` if it is chunked."""

    expects_continue: bool

    async def read(self) -> bytes:
        """The next piece, ``b""`` at the end; raises a :class:`GateError` if it is truncated."""

    def invite(self) -> None:
        """Send 100 Continue to the client."""


class UpstreamResponse(Protocol):
    """A response whose head has been received and whose body is streamed.

    The caller closes it once (:meth:`close`), also after an error.
    """

    status: int
    reason: bytes
    headers: Pairs
    length: int | None
    """The declared Content-Length, ``None`` without one (or with chunks)."""

    has_body: bool
    may_pass_unchanged: bool
    """Whether it is not known yet that the body must be rewritten, or can't be held to find out."""

    @property
    def closes_client(self) -> bool:
        """Whether the client's connection must end with this response, as the upstream's does."""

    def read_ready(self) -> bytes:
        """The received part of the body, without waiting."""

    @property
    def is_complete(self) -> bool:
        """Whether the whole body has been received and read."""

    @property
    def failure(self) -> GateError | None:
        """The error of a broken body of which no byte is left to read."""

    async def read(self) -> bytes:
        """The next piece of the body, ``b""`` at its end; raises :class:`BodyBroken`."""

    async def close(self) -> None:
        """Release the connection if the exchange is complete, else close it."""


class ConnectionPool(Protocol):
    """The pool of an exchange's connection."""

    read_timeout: float

    def release(self, connection: HttpConnection, *, reusable: bool) -> None:
        """Return a connection to the pool."""


class UpstreamExchange:
    """One request and its response on one connection; an :class:`UpstreamResponse` once started."""

    def __init__(self, upstream: ConnectionPool, connection: HttpConnection) -> None:
        self.status = 0
        self.reason = b""
        self.headers: Pairs = []
        self.length: int | None = None
        self.has_body = False
        self.may_pass_unchanged = True
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
            self._upload = asyncio.create_task(self._send(body), name="upstream upload")
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
        """The next head. Raises the error of the upstream, or that of the client's content."""
        upload = self._upload
        if upload is not None and not upload.done():
            reading = asyncio.create_task(self.connection.read(), name="upstream response head")
            try:
                await asyncio.wait({reading, upload}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done() and upload.exception() is not None:
                    await upload  # raises the error of the client's content
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
            log.warning("invalid response from the upstream: error=%s", type(error).__name__)
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
                # RFC 9112, 6.1: without TE only chunked is allowed, and only once.
                if codings > 1 or value.strip(b" \t").lower() != b"chunked":
                    raise UpstreamProtocolError
        if codings and self.length is not None:
            raise UpstreamProtocolError  # RFC 9112, 6.3: both framings at once
        if codings and message.version < HttpVersion11:
            # RFC 9112, 6.1: the framing is faulty, so the connection must not be reused.
            self.connection.force_close()
        self.has_body = method != "HEAD" and self.status >= 200 and self.status not in _BODYLESS
        if not self.has_body:
            self._payload = EMPTY_PAYLOAD

    async def _send(self, body: RequestBody) -> None:
        """Upload the content: read from the client and write to the upstream, piece by piece."""
        connection = self.connection
        timeout = self._upstream.read_timeout
        if body.expects_continue:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CONTINUE_SECONDS):
                    await self._invited.wait()
            body.invite()
        while True:
            try:
                piece = await body.read()
            except GateError:
                if self.status:  # the response has begun, so the error can't be sent to the client
                    self.abort()
                raise
            if connection.transport is None:
                return  # the upstream has disconnected: reading the response raises the error
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

    # --- the response

    @property
    def closes_client(self) -> bool:
        """Whether the client's connection must end with this response, as the upstream's does."""
        return self._is_last and self.connection.owner is not None

    def read_ready(self) -> bytes:
        """The received part of the body, without waiting."""
        return _received(self._payload)

    @property
    def is_complete(self) -> bool:
        """Whether the whole body has been received and read."""
        return self._payload is EMPTY_PAYLOAD or (
            self._payload.at_eof() and self._payload.exception() is None
        )

    async def read(self) -> bytes:
        """The next piece of the body, ``b""`` at its end; raises :class:`BodyBroken`."""
        if self.is_complete:
            return b""
        if self._payload.exception() is not None and (received := _received(self._payload)):
            return received
        try:
            return await self._payload.readany()
        except (ClientError, HttpProcessingError, OSError, RuntimeError, EOFError) as error:
            raise BodyBroken(_error_for(error)) from None

    @property
    def failure(self) -> GateError | None:
        """The error of a broken body of which no byte is left to read."""
        error = self._payload.exception()
        return None if error is None or self._payload._buffer else _error_for(error)

    def abort(self) -> None:
        """Close the connection at once; a pending :meth:`read` raises :class:`BodyBroken`."""
        payload = self._payload
        if payload is not EMPTY_PAYLOAD and not payload.is_eof():
            payload.set_exception(ClientPayloadError("aborted by the gate"))
        self.connection.abort()

    async def skip(self) -> None:
        """Close the response unread.

        On a connection that belongs to one client up to 1 MiB of the body is read first, because
        another connection could not replace it.
        """
        if self.connection.owner is not None:
            left = _MAX_SKIPPED
            with contextlib.suppress(BodyBroken):
                while left > 0 and (piece := await self.read()):
                    left -= len(piece)
        await self.close()

    async def close(self) -> None:
        """Release the connection if the exchange is complete, else close it."""
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


def _received(content: StreamReader) -> bytes:
    """The received part of a body. If the body broke afterwards, this part is still delivered."""
    return b"" if content is EMPTY_PAYLOAD else content._read_nowait(-1)


def _error_for(broken: BaseException) -> GateError:
    """The error for the client of a body that broke with ``broken``."""
    if isinstance(broken, TimeoutError):  # aiohttp's SocketTimeoutError is a subclass
        return UpstreamTimeout()
    if isinstance(broken, (ClientPayloadError, HttpProcessingError)):
        return UpstreamProtocolError()
    return UpstreamUnreachable()

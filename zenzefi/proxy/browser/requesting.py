"""The client's connection, as the sender of requests: the request and its content.

Theory of operation
-------------------

A request is sent on a connection that is free at once (:meth:`RequestingConnection._take`), or a
task waits for one::

    send_request --free connection----> SENT --> response (zenzefi.proxy.browser.connection)
         |                               ^  |
         +---> WAITING (task) -----------+  +-- reused connection closed --> WAITING, once
                  |
                  +-- error, client lost --> failed, over

A content that did not come with its head flows while it arrives (:class:`Upload`). A raw content is
one that does not pass the parser, because its request was recognised. It has a length; the scanner
of :mod:`zenzefi.http.framing` finds its end.
"""

from __future__ import annotations

import abc
import asyncio
import logging
from typing import Any
from uuid import UUID

from aiohttp import web
from aiohttp.streams import StreamReader

from zenzefi.errors import BadRequest, GateError
from zenzefi.http.errors import RequestTimeout
from zenzefi.http.request_handler import LINGER_SECONDS
from zenzefi.http.request_stream import Phase
from zenzefi.proxy.browser.connection import SendingConnection
from zenzefi.proxy.browser.upload import Upload
from zenzefi.proxy.errors import UpstreamUnreachable
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.method_override import ContentInspection
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.pool import IDEMPOTENT, ConnectionPurpose, Upstream
from zenzefi.proxy.upstream.response_head import PlainHeadReader
from zenzefi.proxy.upstream.sinks import ResponseStart
from zenzefi.proxy.upstream.upgrade import Upgrade

log = logging.getLogger(__name__)

_PLAIN_HEADS = PlainHeadReader()


def gate_error(error: Exception) -> GateError:
    """The error for the client; one that is not the gate's own is logged, and becomes a 500."""
    if isinstance(error, GateError):
        return error
    log.error("unexpected error", exc_info=error)
    return GateError()


class RequestingConnection(SendingConnection):
    """One connection from a client: the part that sends requests with their contents."""

    __slots__ = (
        "_connecting",
        "_is_raw",
        "_linger_timer",
        "_may_upgrade",
        "_outgoing",
        "_received",
        "_request_method",
        "_rest",
        "_upload",
        "_upstream",
    )

    _upstream: Upstream
    """Where requests are sent to; set before the first one."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._request_method = b""
        self._outgoing = b""  # the request for the upstream
        self._may_upgrade = False  # it is the handshake of a WebSocket
        self._upload: Upload | None = None  # while a content flows
        self._received = 0  # bytes of the content that were sent before
        self._is_raw = False
        self._rest: StreamReader | None = None  # the raw content, as aiohttp sees it
        self._connecting: asyncio.Task[None] | None = None
        self._linger_timer: asyncio.TimerHandle | None = None

    # --- what depends on the request

    @abc.abstractmethod
    def purpose(self) -> ConnectionPurpose:
        """The purpose of the current request's connection."""

    @abc.abstractmethod
    def _shared_by(self) -> UUID | None:
        """The token whose share of pooled connections may serve the request; ``None``: none may.

        Such a request waits for a long-lived connection, or for one that belongs to this client.
        """

    @abc.abstractmethod
    def interim(self, status: int, headers: Pairs) -> None:
        """See :class:`~zenzefi.proxy.upstream.sinks.ResponseSink`."""

    # --- the request

    def send_request(self) -> None:
        """Send the request on a pooled connection, or as soon as there is another one."""
        token = self._shared_by() if self.owned is None else None
        connection = self._upstream.take(token) if token is not None else None
        if connection is not None:
            self._transmit(connection)
        else:
            self._wait_for_connection()

    def shake_hands(self, head: bytes) -> None:
        """Send the handshake of a WebSocket, whose task awaits the response."""
        self.head_table = _PLAIN_HEADS
        self._request_method = b"GET"
        self._outgoing = head
        self._may_upgrade = True
        self._wait_for_connection(is_fresh=True)

    def _wait_for_connection(self, *, is_fresh: bool = False) -> None:
        waiting = self._connect(
            self.purpose(), self.exchange, is_fresh=is_fresh, has_owned=self.owned is not None
        )
        self._connecting = self._loop.create_task(waiting, name="connection for a request")

    async def _connect(
        self, purpose: ConnectionPurpose, exchange: object, *, is_fresh: bool, has_owned: bool
    ) -> None:
        try:
            if has_owned and self.owned is None and purpose.is_authenticating:
                raise UpstreamUnreachable  # a new connection begins the handshake from its start
            connection = await self._upstream.acquire(purpose, fresh=is_fresh)
        except Exception as error:
            known = gate_error(error)
            if self.exchange is exchange:
                self._connecting = None
                self.failed(known)
            return
        if self.exchange is not exchange:
            connection.abandon()
            return
        self._connecting = None
        self._transmit(connection)
        self.content_wanted()

    def _transmit(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        is_head = self._request_method == b"HEAD"
        upload = self._upload
        if upload is None:
            may_upgrade = self._may_upgrade
            connection.send(self, self._outgoing, is_head=is_head, may_upgrade=may_upgrade)
            return
        connection.send(self, self._outgoing, is_head=is_head, source=upload, length=upload.length)
        if connection.content is not None and self._upload is upload:
            upload.start(connection)

    def send_again(self) -> None:
        """Send the request once more, on a new connection (RFC 9112, 9.3.1)."""
        self._connection = None
        upload = self._upload
        if (
            self._request_method.decode() not in IDEMPOTENT
            or (upload is not None and upload.received)
            or (self._shared_by() is None and self.purpose().is_authenticating)
        ):
            self.failed(UpstreamUnreachable())
            return
        if upload is not None:
            upload.restart()
        self._wait_for_connection(is_fresh=True)

    def begin(self, connection: UpstreamConnection, response: ResponseStart) -> None:
        """See :class:`~zenzefi.proxy.upstream.sinks.ResponseSink`."""
        if self._upload is not None and self._upload.is_waiting:
            self._drop_upload()  # this response takes the place of the invitation
        if response.read.status == 101 and self._awaited is not None:
            self._connection = None
            self._awaited.upgraded(Upgrade(connection, response.plain()))
        else:
            try:
                self._respond(connection, response)
            except Exception as error:
                raise self._refusal(error) from None

    def _refusal(self, error: Exception) -> GateError:
        """The error for a response that could not be chosen; one that has begun is broken off."""
        if self._status and not isinstance(error, GateError):
            self.break_off()
        return gate_error(error)

    def _respond(self, connection: UpstreamConnection, response: ResponseStart) -> None:
        """Send the response that has begun. Raises :class:`GateError`."""
        self.receive(connection, self.settle(connection, response), was_searched=False)

    # --- its content

    @property
    def received(self) -> int:
        """Bytes of the current request's content that were sent to the upstream."""
        return self._received + (self._upload.received if self._upload is not None else 0)

    def _new_upload(
        self,
        length: int | None,
        inspection: ContentInspection | None = None,
        *,
        expects_continue: bool,
        is_parsed: bool,
    ) -> Upload:
        return Upload(
            self,
            length,
            self._upstream.read_timeout,
            inspection=inspection,
            expects_continue=expects_continue,
            is_parsed=is_parsed,
        )

    def send_continue(self) -> None:
        """See :class:`~zenzefi.proxy.browser.upload.UploadingClient`."""
        if self._phase is Phase.CONTENT:
            self.write_interim(100, [])

    def content_wanted(self) -> None:
        """See :class:`~zenzefi.proxy.browser.upload.UploadingClient`."""
        upload = self._upload
        if upload is not None and upload.is_parsed and not upload.is_blocked:
            self._take(upload)  # what the parser has read before
        self._advance()

    def _read_content(self) -> bool:
        upload = self._upload
        if upload is not None and upload.is_cut:
            if isinstance(self._connection, UpstreamConnection):
                return False  # it reports its end next, and the request may be sent again
            self._drop_upload()
            upload = None
        if upload is None:
            return self._skip_content() if self._is_raw else super()._read_content()
        if upload.is_blocked:
            return False
        if upload.is_parsed:
            super()._read_content()
        self._take(upload)
        return True

    def _take(self, upload: Upload) -> None:
        """Send the received part of the content, or end the exchange if it is refused."""
        try:
            if upload.is_parsed:
                self._take_parsed(upload, self._last_content)
            else:
                self._take_raw(upload)
        except GateError as error:
            upload.fail(error)

    def _take_raw(self, upload: Upload) -> None:
        data, end = self._unread, self._end
        used = end.feed(data)
        self._unread = data[used:]
        is_last = end.is_complete
        if is_last:
            self._phase = Phase.START
        upload.take(data[:used], is_last=is_last)

    @staticmethod
    def _take_parsed(upload: Upload, content: StreamReader) -> None:
        is_last = False
        while not (is_last or upload.is_blocked):
            try:
                data = content.read_nowait()
            except web.RequestPayloadError:
                raise BadRequest("The request's content is not framed properly.") from None
            except (OSError, RuntimeError):  # the client has disconnected
                raise RequestTimeout from None
            is_last = content.is_eof()
            if not data and not is_last:
                return
            upload.take(data, is_last=is_last)

    def _skip_content(self) -> bool:
        """Drop the rest of a content that nothing needs."""
        data, end = self._unread, self._end
        self._unread = data[end.feed(data) :]
        if end.is_complete:
            self._phase = Phase.START
            if self._rest is not None:
                self._rest.feed_eof()
            if self._linger_timer is not None:
                self.force_close()
        elif end.is_broken:
            self.force_close()
        return True

    def _drop_upload(self) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            self._received += upload.received
            upload.stop()
            if self._phase is Phase.CONTENT:  # what waited for the upload can be dropped
                self._loop.call_soon(self._advance)

    # --- the end

    def failed(self, error: GateError) -> None:
        """See :class:`~zenzefi.proxy.upstream.sinks.ResponseSink`."""
        self._drop_request()
        super().failed(error)
        self._loop.call_soon(self._advance)

    def _drop_request(self) -> None:
        self._may_upgrade = False
        self._drop_upload()
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()

    def _streams(self) -> None:
        self._outgoing = b""

    def _release(self) -> None:
        self._outgoing = b""
        if self._upload is not None or self._connecting is not None or self._may_upgrade:
            self._drop_request()

    def end_connection(self) -> None:
        """Close the connection; a client that still sends gets a moment to read the response."""
        if self._phase is not Phase.CONTENT:
            self.force_close()
            return
        self._close = self._is_raw = True
        self._linger_timer = self._loop.call_later(LINGER_SECONDS, self.force_close)
        self._loop.call_soon(self._advance)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._drop_request()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        super().connection_lost(exc)

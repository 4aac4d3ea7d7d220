"""The client's side of a response on the fast path: what the upstream's connection calls.

The writer of all bytes from the head of a response to its end; the states are described in
:mod:`zenzefi.proxy.fast_path`.
"""

from __future__ import annotations

import abc
import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

from zenzefi.errors import GateError
from zenzefi.http.request_handler import GateRequestHandler
from zenzefi.http.request_stream import Phase
from zenzefi.observability import metrics
from zenzefi.proxy.browser_response import interim_head
from zenzefi.proxy.errors import UpstreamUnreachable
from zenzefi.proxy.fast_path.body_source import BodySource
from zenzefi.proxy.fast_path.handover import HandedOver
from zenzefi.proxy.fast_path.head_table import HeadTable
from zenzefi.proxy.fast_path.known_request import KnownRequest
from zenzefi.proxy.fast_path.parked_response import ParkedResponse
from zenzefi.proxy.fast_path.receiver import choose_receiver, settle
from zenzefi.proxy.fast_path.response_writer import LAST_CHUNK, write_chunk, write_start
from zenzefi.proxy.fast_path.spans import Spans
from zenzefi.proxy.forwarder import revalidate
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.interfaces import RequestTracking
from zenzefi.proxy.proxy_request import EngineRequest
from zenzefi.proxy.rewriter import MappedResponse, ResponseHead
from zenzefi.proxy.upstream.body_flow import BUFFER
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.ownership import ConnectionOwner
from zenzefi.proxy.upstream.sinks import BodySink, ResponseStart

if TYPE_CHECKING:
    from zenzefi.proxy.fast_path import FastPath

Original = bytes | tuple[RawRequestMessage, StreamReader]
"""A request as it was received: its bytes, or what the parser made of them."""


class FastPathResponse(GateRequestHandler):
    """One connection from a client: the part that receives a response."""

    __slots__ = (
        "_connection",
        "_fast_path",
        "_handed_over",
        "_is_chunked",
        "_is_closing_after",
        "_is_counted",
        "_is_to_splice",
        "_is_validated",
        "_known",
        "_original",
        "_outgoing",
        "_received",
        "_registration",
        "_remote",
        "_request_id",
        "_request_method",
        "_sent",
        "_spans",
        "_started",
        "_status",
        "_target",
        "_tracking",
        "exchange",
        "head_table",
    )

    head_table: HeadTable

    def __init__(self, server: Any, *, fast_path: FastPath, **options: Any) -> None:
        super().__init__(server, **options)
        self._fast_path = fast_path
        self._remote = ""
        self._known: KnownRequest | None = None  # while the fast path serves a request
        self._connection: BodySource | None = None
        self._original: Original = b""  # the request as it was received, for the handover
        self._outgoing = b""  # the request for the upstream
        self._request_method = b""
        self._target = b""
        self._request_id = b""
        self._is_closing_after = False
        self._is_chunked = False
        self._is_to_splice = False
        self._status = 0
        self._received = 0  # bytes of the request's content
        self._sent = 0
        self._started = 0.0
        self._registration: Any = None
        self._is_validated = False  # for the current response
        self._tracking: RequestTracking | None = None  # of an event stream
        self._handed_over = HandedOver()
        self._is_counted = False  # by the rate limit of proxied requests
        self._spans: Spans | None = None
        self.exchange: object = None
        """Identifies the request that the fast path serves; ``None`` between requests."""

    @abc.abstractmethod
    def hand_over(self, error: GateError | None) -> None:
        """Pass the request to the standard path, which sends it, or responds with the error."""

    @abc.abstractmethod
    def end_connection(self) -> None:
        """The last response is complete: close the connection."""

    # --- called by the upstream's connection

    def owner(self) -> ConnectionOwner | None:
        known = self._known
        if known is None or known.is_behind_proxy or self.is_lost:
            return None
        return ConnectionOwner(self, known.access.token_id, known.identity)

    def register(self) -> bool:
        known = self._known
        if known is None:
            raise UpstreamUnreachable
        token_validator = self._fast_path.token_validator
        identity = known.identity
        if self._registration is None:
            registration = token_validator.register(known.access, self._token_ended, identity)
            registration.__enter__()
            self._registration = registration
        return self._is_validated or not (
            token_validator.cached(known.token) is None or token_validator.is_signed_out(identity)
        )

    def validate(self, parked: ParkedResponse) -> None:
        self._fast_path.start_task(self._validate(parked, self.exchange))

    async def _validate(self, parked: ParkedResponse, exchange: object) -> None:
        known = self._known
        if known is None:
            return
        try:
            await revalidate(self._fast_path.token_validator, known.token, known.identity)
        except GateError as error:
            if self.exchange is exchange:
                parked.abandon()
                self.failed(error)
        else:
            if self.exchange is exchange:
                self._is_validated = True
                parked.deliver(self)

    def close_after_response(self) -> None:
        self._close = True

    def close_when_done(self) -> None:
        if self._known is None:
            super().close_when_done()
        else:
            self._close = True

    def end_at_drain(self) -> None:
        known = self._known
        if known is not None:
            self._fast_path.http.event_streams.add(self)
            self._tracking = self._fast_path.sessions.begin(known.access, known.identity)
            self._tracking.progress = lambda: (0, self._sent)
            self._tracking.__enter__()

    def interim(self, status: int, headers: Pairs) -> None:
        known, transport = self._known, self.transport
        if known is not None and transport is not None:
            lines = self._fast_path.http.interim(self.for_engine(known), status, headers)
            transport.write(interim_head(status, lines))

    def for_engine(self, known: KnownRequest) -> EngineRequest:
        """The current request as the rewriting engine sees it."""
        return replace(
            known.for_engine, method=self._request_method.decode(), target=self._target.decode()
        )

    @property
    def has_derived_tag(self) -> bool:
        return self._known is not None and self._known.has_derived_tag

    def map_response(self, head: ResponseHead) -> MappedResponse:
        if self._known is None:
            raise UpstreamUnreachable
        return self._fast_path.http.head(self.for_engine(self._known), head)

    def receive_from(self, source: BodySource | None) -> None:
        self._connection = source
        if self._paused and source is not None:
            source.pause()

    def _unregister(self) -> None:
        registration, self._registration = self._registration, None
        tracking, self._tracking = self._tracking, None
        self._is_validated = False
        if registration is not None:
            registration.__exit__(None, None, None)
        if tracking is not None:
            self._fast_path.http.event_streams.discard(self)
            tracking.__exit__(None, None, None)

    def begin(self, connection: UpstreamConnection, response: ResponseStart) -> None:
        choose_receiver(self, connection, settle(self, connection, response))

    def receive(
        self,
        connection: UpstreamConnection | None,
        response: ResponseStart,
        *,
        was_searched: bool,
    ) -> BodySink:
        return choose_receiver(self, connection, response, was_searched=was_searched)

    def failed(self, error: GateError) -> None:
        self.hand_over(error)

    def head(
        self, status: int, lines: list[bytes], length: int | None, first: bytes, *, is_done: bool
    ) -> None:
        known, transport = self._known, self.transport
        if known is None or transport is None:
            return
        self._status = status
        self._sent = len(first)
        self._is_chunked = length == -1
        self._is_closing_after = is_last = (
            not known.keep_alive
            or self._close
            or self._fast_path.drain.is_draining
            or self._phase is Phase.CONTENT  # unread content can't be skipped safely
        )
        write_start(
            transport, lines, self._request_id, length, first, is_last=is_last, is_done=is_done
        )
        if is_done:
            self._connection = None
            self._finish()
            return
        self._original = self._outgoing = b""
        connection = self._connection
        if connection is not None and connection.may_splice(transport):
            # The write buffer must be empty first; resume_writing() is called when it is.
            connection.pause()
            self._is_to_splice = True
            transport.set_write_buffer_limits(high=0)
            if not transport.get_write_buffer_size():
                self._begin_splice(connection, transport)
        else:
            transport.set_write_buffer_limits(high=BUFFER)

    def _begin_splice(self, connection: BodySource, transport: asyncio.Transport) -> None:
        self._is_to_splice = False
        transport.set_write_buffer_limits(high=BUFFER)
        connection.splice_to(transport)

    def moved(self, count: int) -> None:
        self._sent += count

    def piece(self, data: bytes) -> None:
        transport = self.transport
        if transport is None:
            return
        self._sent += len(data)
        if self._is_chunked:
            write_chunk(transport, data)
        else:
            transport.write(data)

    def end(self) -> None:
        self._connection = None
        if self._is_chunked and self.transport is not None:
            self.transport.write(LAST_CHUNK)
        self._finish()

    def broken(self, error: GateError) -> None:
        self._fast_path.log_broken(error)
        self._connection = None
        self.break_off()

    def break_off(self) -> None:
        """End the response; the client detects that its end is missing.

        The body has a length or is chunked.
        """
        self._done()
        self.force_close()

    def _token_ended(self, _reason: str) -> None:
        transport = self.transport
        self._done()
        if transport is not None:
            transport.abort()

    def _finish(self) -> None:
        """The response is complete: continue with the next request."""
        self._done()
        if self._is_closing_after or self._close or self._force_close:
            self.end_connection()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._unread:
            self._advance()

    def _done(self) -> None:
        known, self._known = self._known, None
        self.exchange = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
        is_stream = self._tracking is not None
        self._unregister()
        self._original = self._outgoing = b""
        self._is_to_splice = False
        self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        spans, self._spans = self._spans, None
        if known is not None:
            self._fast_path.record(
                known,
                self._request_method,
                self._target,
                self._request_id,
                self._status,
                self._received,
                self._sent,
                self._loop.time() - self._started,
                is_stream=is_stream,
                trace_id=spans.trace_id if spans is not None else None,
            )
            if spans is not None:
                method = self._request_method.decode()
                spans.end(metrics.method_label(method), self._status, known.address)

"""The client's connection: the facts of the request whose response it sends.

The receivers of a response (:mod:`zenzefi.proxy.forwarding.receiver`) ask here for what depends on
the request: its token, its client, the mapping of heads.
"""

from __future__ import annotations

import abc
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

from zenzefi.errors import GateError
from zenzefi.observability import metrics
from zenzefi.observability.access_log import AccessLogEntry
from zenzefi.observability.trace_context import trace_id_of
from zenzefi.proxy.browser.awaited_response import AwaitedResponse
from zenzefi.proxy.browser.connection import SendingConnection, ServedRequest
from zenzefi.proxy.browser.parked_response import ParkedResponse
from zenzefi.proxy.errors import UpstreamUnreachable
from zenzefi.proxy.forwarder import revalidate
from zenzefi.proxy.forwarding.handover import HandedOver
from zenzefi.proxy.forwarding.head_table import Head
from zenzefi.proxy.forwarding.known_request import KnownRequest
from zenzefi.proxy.forwarding.receiver import choose_receiver
from zenzefi.proxy.forwarding.spans import Spans
from zenzefi.proxy.forwarding.upload import Upload
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.interfaces import RequestTracking
from zenzefi.proxy.proxied_response import ProxiedResponse
from zenzefi.proxy.proxy_request import EngineRequest
from zenzefi.proxy.rewriter import MappedResponse, ResponseHead
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.ownership import ConnectionOwner
from zenzefi.proxy.upstream.sinks import BodySink, ResponseStart
from zenzefi.rewriting.plugins.heads import ExchangeMemory

if TYPE_CHECKING:
    from zenzefi.proxy.forwarding import Forwarding

Original = bytes | tuple[RawRequestMessage, StreamReader]
"""A request as it was received: its bytes, or what the parser made of them."""


class ForwardingResponse(SendingConnection):
    """One connection from a client: the part that receives a response."""

    __slots__ = (
        "_forwarding",
        "_handed_over",
        "_is_counted",
        "_is_validated",
        "_memory",
        "_original",
        "_outgoing",
        "_received",
        "_registration",
        "_remote",
        "_request_method",
        "_spans",
        "_started",
        "_target",
        "_tracking",
        "_upload",
    )

    _known: KnownRequest | ProxiedResponse | None

    def __init__(self, server: Any, *, forwarding: Forwarding, **options: Any) -> None:
        super().__init__(server, drain=forwarding.drain, **options)
        self._forwarding = forwarding
        self._remote = ""
        self._original: Original = b""  # the request as it was received, for the handover
        self._outgoing = b""  # the request for the upstream
        self._request_method = b""
        self._target = b""
        self._received = 0  # bytes of the request's content
        self._started = 0.0
        self._registration: Any = None
        self._is_validated = False  # for the current response
        self._tracking: RequestTracking | None = None  # of an event stream
        self._handed_over: HandedOver | None = None
        self._is_counted = False  # by the rate limit of proxied requests
        self._spans: Spans | None = None
        self._memory: ExchangeMemory | None = None  # of plugins, for the current request
        self._upload: Upload | None = None  # while a content flows

    @abc.abstractmethod
    def drop_upload(self) -> None:
        """Stop to pass the content of the request on, and add its bytes to those received."""

    @abc.abstractmethod
    def hand_over(self, error: GateError | None) -> None:
        """Pass the request to the standard path, which sends it, or responds with the error."""

    def serve(self, awaited: AwaitedResponse) -> None:
        """See :meth:`SendingConnection.serve`."""
        super().serve(awaited)
        if isinstance(awaited, ProxiedResponse):
            request = awaited.for_engine
            self._request_method = request.method.encode()
            self._target = request.target.encode()
            self._received = 0
            self.head_table = self._forwarding.head_reader(request)

    # --- called for the response

    def owner(self) -> ConnectionOwner | None:
        known = self._known
        if known is None or known.is_behind_proxy or self.is_lost:
            return None
        return ConnectionOwner(self, known.access.token_id, known.identity)

    def register(self) -> bool:
        known = self._known
        if known is None:
            raise UpstreamUnreachable
        token_validator = self._forwarding.token_validator
        identity = known.identity
        if self._registration is None:
            registration = token_validator.register(known.access, self.cut_off, identity)
            registration.__enter__()
            self._registration = registration
        return self._is_validated or not (
            token_validator.cached(known.token) is None or token_validator.is_signed_out(identity)
        )

    def validate(self, parked: ParkedResponse) -> None:
        self._forwarding.start_task(self._validate(parked, self.exchange))

    async def _validate(self, parked: ParkedResponse, exchange: object) -> None:
        known = self._known
        if known is None:
            return
        try:
            await revalidate(self._forwarding.token_validator, known.token, known.identity)
        except GateError as error:
            if self.exchange is exchange:
                parked.abandon()
                self.failed(error)
        else:
            if self.exchange is exchange:
                self._is_validated = True
                parked.deliver()

    def end_at_drain(self) -> None:
        known = self._known
        self._forwarding.http.event_streams.add(self)
        if isinstance(known, ProxiedResponse):
            known.content_type = "text/event-stream"
        elif known is not None:
            self._tracking = self._forwarding.sessions.begin(known.access, known.identity)
            self._tracking.progress = lambda: (0, self._sent)
            self._tracking.__enter__()

    def interim(self, status: int, headers: Pairs) -> None:
        known = self._known
        if known is not None:
            http = self._forwarding.http
            self.write_interim(status, http.interim(self.for_engine(known), status, headers))

    def for_engine(self, known: KnownRequest | ProxiedResponse) -> EngineRequest:
        """The current request as the rewriting engine sees it."""
        request = known.for_engine
        memory = request.memory or self._memory
        if memory is None:
            memory = self._memory = ExchangeMemory(self._request_id.decode())
        return replace(
            request,
            method=self._request_method.decode(),
            target=self._target.decode(),
            memory=memory,
        )

    @property
    def has_derived_tag(self) -> bool:
        return self._known is not None and self._known.has_derived_tag

    def map_response(self, head: ResponseHead) -> MappedResponse:
        if self._known is None:
            raise UpstreamUnreachable
        return self._forwarding.http.head(self.for_engine(self._known), head)

    def must_refetch(self, head: ResponseHead) -> bool:
        """Whether the task must send the request again; :meth:`begin` does it without one."""
        known = self._known
        return (
            isinstance(known, ProxiedResponse)
            and known.may_refetch
            and self._forwarding.http.must_refetch(known.for_engine, head)
        )

    def refetch(self, parked: ParkedResponse) -> None:
        if isinstance(self._known, ProxiedResponse):
            self._known.refetch(parked)

    # --- the response

    def settle(self, connection: UpstreamConnection, response: ResponseStart) -> ResponseStart:
        """See :meth:`SendingConnection.settle`; a usual head means nothing for its connection."""
        is_usual = isinstance(response.read, Head) and response.read.is_usual
        if is_usual and not connection.is_private:
            return response
        settled = super().settle(connection, response)
        return response if is_usual else settled

    def receive(
        self,
        connection: UpstreamConnection | None,
        response: ResponseStart,
        *,
        was_searched: bool,
    ) -> BodySink:
        return choose_receiver(self, connection, response, was_searched=was_searched)

    def failed(self, error: GateError) -> None:
        if isinstance(self._known, KnownRequest):
            self.hand_over(error)
        else:
            super().failed(error)

    def _streams(self) -> None:
        self._original = self._outgoing = b""

    def _release(self) -> None:
        registration, self._registration = self._registration, None
        tracking, self._tracking = self._tracking, None
        self._is_validated = False
        self._original = self._outgoing = b""
        if registration is not None:
            registration.__exit__(None, None, None)
        self._forwarding.http.event_streams.discard(self)
        if tracking is not None:
            tracking.__exit__(None, None, None)

    def _record(self, known: ServedRequest, status: int) -> None:
        if not isinstance(known, KnownRequest):
            return
        if self._upload is not None:
            self.drop_upload()
        forwarding = self._forwarding
        forwarding.served += 1
        seconds = self._loop.time() - self._started
        if self._tracking is None:
            if not known.unreported_requests:
                forwarding.to_report.append(known)
            known.unreported_requests += 1
            known.unreported_received += self._received
            known.unreported_sent += self._sent
            forwarding.tally.add(self._request_method, status, self._sent, seconds)
        else:  # the sessions count it while it lasts, and its duration says nothing about speed
            forwarding.tally.add(self._request_method, status, self._sent, -1)
        if forwarding.access_log is not None or self._spans is not None:
            self._log(known, status, seconds)

    def _log(self, known: KnownRequest, status: int, seconds: float) -> None:
        """Add a served request to the access log, and end its spans."""
        method = self._request_method.decode()
        trace_id = None
        spans, self._spans = self._spans, None
        if spans is not None:
            trace_id = spans.trace_id
            spans.end(metrics.method_label(method), status, known.address)
        access_log = self._forwarding.access_log
        if access_log is not None:
            access_log.add(
                AccessLogEntry(
                    time.time(),
                    "proxy",
                    method,
                    known.path(self._target),
                    status,
                    seconds,
                    self._sent,
                    known.address,
                    self._request_id.decode(),
                    trace_id or trace_id_of(known.for_engine.headers.get("traceparent")),
                    (known.access.user_id, known.access.token_id),
                )
            )

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._handed_over = None

"""The client's connection: the facts of the request whose response it sends.

The receivers of a response (:mod:`zenzefi.proxy.forwarding.receiver`) ask here for what depends on
the request: its token, its client, the mapping of heads.
"""

from __future__ import annotations

import abc
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

from zenzefi.errors import GateError, UpstreamFailed
from zenzefi.observability import metrics
from zenzefi.observability.access_log import AccessLogEntry
from zenzefi.observability.trace_context import trace_id_of
from zenzefi.proxy.browser.connection import ServedRequest
from zenzefi.proxy.browser.parked_response import ParkedResponse
from zenzefi.proxy.browser.requesting import RequestingConnection, gate_error
from zenzefi.proxy.errors import UpstreamBusy, UpstreamTimeout, UpstreamUnreachable
from zenzefi.proxy.forwarder import revalidate
from zenzefi.proxy.forwarding.handover import HandedOver
from zenzefi.proxy.forwarding.head_table import Head
from zenzefi.proxy.forwarding.known_request import KnownRequest
from zenzefi.proxy.forwarding.receiver import choose_receiver
from zenzefi.proxy.forwarding.spans import Spans
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.interfaces import RequestTracking
from zenzefi.proxy.proxy_request import EngineRequest
from zenzefi.proxy.rewriter import Answer, MappedHead, MappedResponse, ResponseHead
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.ownership import ConnectionOwner
from zenzefi.proxy.upstream.pool import ConnectionPurpose
from zenzefi.proxy.upstream.sinks import BodySink, ResponseStart
from zenzefi.rewriting.plugins.heads import ExchangeMemory

if TYPE_CHECKING:
    from zenzefi.proxy.forwarding import Forwarding

_WITHOUT_RESPONSE = (UpstreamFailed, UpstreamBusy, UpstreamTimeout)
_RANGE = re.compile(rb"(?i)\r\n(?:if-)?range:[^\r\n]*")

Original = bytes | tuple[RawRequestMessage, StreamReader]
"""A request as it was received: its bytes, or what the parser made of them."""


class ForwardingResponse(RequestingConnection):
    """One connection from a client: the part that receives a response."""

    __slots__ = (
        "_forwarding",
        "_handed_over",
        "_is_validated",
        "_memory",
        "_original",
        "_registration",
        "_remote",
        "_spans",
        "_started",
        "_target",
        "_tracking",
    )

    _known: KnownRequest | None

    def __init__(self, server: Any, *, forwarding: Forwarding, **options: Any) -> None:
        super().__init__(server, drain=forwarding.drain, **options)
        self._forwarding = forwarding
        self._upstream = forwarding.upstream
        self._remote = ""
        self._original: Original = b""  # the request as it was received, for the handover
        self._target = b""
        self._started = 0.0
        self._registration: Any = None
        self._is_validated = False  # for the current response
        self._tracking: RequestTracking | None = None  # of an event stream
        self._handed_over: HandedOver | None = None
        self._spans: Spans | None = None
        self._memory: ExchangeMemory | None = None  # of plugins, for the current request

    @abc.abstractmethod
    def hand_over(self, error: GateError) -> None:
        """Pass the request to aiohttp's task, which responds with the error."""

    # --- what has to be awaited

    def _after(self, awaitable: Awaitable[object], go_on: Callable[[], None]) -> None:
        """Continue with the current request when ``awaitable`` is done; its error ends it."""
        self._forwarding.start_task(self._await(awaitable, go_on, self.exchange))

    async def _await(
        self, awaitable: Awaitable[object], go_on: Callable[[], None], exchange: object
    ) -> None:
        try:
            await awaitable
        except Exception as error:
            known = gate_error(error)
            if self.exchange is exchange:
                source, self._connection = self._connection, None
                if source is not None:
                    source.abandon()
                self.failed(known)
        else:
            if self.exchange is exchange:
                go_on()
                self.content_wanted()

    def _after_validation(self, known: KnownRequest, go_on: Callable[[], None]) -> None:
        """Continue if the token is still valid."""

        def validated() -> None:
            self._is_validated = True
            go_on()

        token_validator = self._forwarding.token_validator
        self._after(revalidate(token_validator, known.token, known.identity), validated)

    # --- called for the request

    def _shared_by(self) -> UUID | None:
        known = self._known
        if known is None or known.is_long_lived or known.is_authenticating:
            return None
        return known.access.token_id

    def purpose(self) -> ConnectionPurpose:
        known = self._known
        if known is None:
            raise UpstreamUnreachable
        token_validator = self._forwarding.token_validator
        return ConnectionPurpose(
            known.access.token_id,
            known.identity,
            # A reverse proxy's connection to the gate carries the requests of many browsers.
            None if known.is_behind_proxy else self,
            partial(revalidate, token_validator, known.token, known.identity),
            is_long_lived=known.is_long_lived,
            is_authenticating=known.is_authenticating,
        )

    # --- called for the response

    def owner(self) -> ConnectionOwner | None:
        return None if self._known is None else self.purpose().owner()

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
        if self._known is not None:
            self._after_validation(self._known, parked.deliver)

    def end_at_drain(self) -> None:
        known = self._known
        self._forwarding.http.event_streams.add(self)
        if self._awaited is not None:
            self._awaited.content_type = "text/event-stream"
        elif known is not None:
            self._tracking = self._forwarding.sessions.begin(known.access, known.identity)
            self._tracking.progress = lambda: (0, self._sent)
            self._tracking.__enter__()

    def interim(self, status: int, headers: Pairs) -> None:
        known = self._known
        if known is not None:
            http = self._forwarding.http
            self.write_interim(status, http.interim(self.for_engine(known), status, headers))

    def for_engine(self, known: KnownRequest) -> EngineRequest:
        """The current request as the rewriting engine sees it."""
        request = known.for_engine
        memory = request.memory or self._memory
        if memory is None:
            memory = self._memory = ExchangeMemory(self._request_id.decode())
        return request.at(self._request_method.decode(), self._target.decode(), memory)

    @property
    def has_derived_tag(self) -> bool:
        return self._known is not None and self._known.has_derived_tag

    def map_response(self, head: ResponseHead) -> MappedResponse:
        known = self._known
        if known is None:
            raise UpstreamUnreachable
        forwarding = self._forwarding
        if (
            not forwarding.maps_alike
            or known.for_engine.memory is not None
            or head.status != 200
            or self._request_method != b"GET"
        ):
            return self._map_head(known, head)
        map_head = partial(self._map_head, known, head)
        headers = known.for_engine.headers
        return forwarding.mapped_heads.map(headers, self._target, head, map_head)

    def _map_head(self, known: KnownRequest, head: ResponseHead) -> MappedResponse:
        return self._forwarding.http.head(self.for_engine(known), head)

    # --- the response

    def settle(self, connection: UpstreamConnection, response: ResponseStart) -> ResponseStart:
        """See :meth:`SendingConnection.settle`; a usual head means nothing for its connection."""
        is_usual = isinstance(response.read, Head) and response.read.is_usual
        if is_usual and not connection.is_private:
            return response
        settled = super().settle(connection, response)
        return response if is_usual else settled

    def _respond(self, connection: UpstreamConnection, response: ResponseStart) -> None:
        known = self._known
        if known is None:
            raise UpstreamUnreachable
        if response.read.status == 206 and self._asks_for_whole(known, response):
            self._fetch_whole(connection, response)
        elif known.access.activated_at is not None:
            choose_receiver(self, connection, self.settle(connection, response))
        else:
            parked = ParkedResponse(self, connection, self.settle(connection, response))
            self._after(self._activate(known), parked.deliver)

    async def _activate(self, known: KnownRequest) -> None:
        access = await self._forwarding.token_validator.activate(known.access)
        facts = replace(
            known.for_engine.client,
            activated_at=access.activated_at,
            expires_at=access.expires_at,
        )
        known.for_engine = known.for_engine._replace(client=facts)

    def _asks_for_whole(self, known: KnownRequest, response: ResponseStart) -> bool:
        """Whether the whole body is needed; then the request was changed accordingly."""
        head, end, content = self._outgoing.partition(b"\r\n\r\n")
        whole = _RANGE.sub(b"", head)
        # A content that the client was not asked for could not be sent with the second request.
        if self._upload is not None or known.expects_continue or whole == head:
            return False
        received = MappedHead(response.plain(), has_body=response.has_body)
        if not self._forwarding.http.must_refetch(self.for_engine(known), received):
            return False
        self._outgoing = whole + end + content
        return True

    def _fetch_whole(self, connection: UpstreamConnection, response: ResponseStart) -> None:
        """Send the request again, without its ``Range``."""
        response = self.settle(connection, response)
        if connection.owner is None:
            connection.abandon()
            self._connection = None
            self.send_request()
        else:  # it can't be replaced
            self._after(ParkedResponse(self, connection, response).skip(), self.send_request)

    def receive(
        self,
        connection: UpstreamConnection | None,
        response: ResponseStart,
        *,
        was_searched: bool,
    ) -> BodySink:
        try:
            return choose_receiver(self, connection, response, was_searched=was_searched)
        except Exception as error:
            raise self._refusal(error) from None

    def send_answer(self, answer: Answer) -> None:
        """Send a plugin's response. The upstream sent none, so the token is not activated."""
        status, mapped, body = answer
        lines = [b"HTTP/1.1 %d \r\n" % status, *(b"%b: %b\r\n" % pair for pair in mapped.headers)]
        has_body = self._request_method != b"HEAD" and status not in (204, 304)
        length = len(body) if status not in (204, 304) else None
        self.head(status, lines, length, body if has_body else b"", is_done=True)

    def _instead_of(self, error: GateError) -> Answer | None:
        """A plugin's response to a request that the upstream did not respond to."""
        known = self._known
        if known is None or not isinstance(error, _WITHOUT_RESPONSE):
            return None
        try:
            return self._forwarding.http.rewriter.instead_of_error(self.for_engine(known), error)
        except GateError:
            return None

    def failed(self, error: GateError) -> None:
        answer = self._instead_of(error)
        if answer is not None:
            self._drop_request()
            self._connection = None
            self.send_answer(answer)
        elif self._awaited is None:
            self.hand_over(error)
        else:
            super().failed(error)

    def _streams(self) -> None:
        super()._streams()
        self._original = b""

    def _release(self) -> None:
        super()._release()
        registration, self._registration = self._registration, None
        tracking, self._tracking = self._tracking, None
        self._is_validated = False
        self._original = b""
        if registration is not None:
            registration.__exit__(None, None, None)
        self._forwarding.http.event_streams.discard(self)
        if tracking is not None:
            tracking.__exit__(None, None, None)

    def _record(self, known: ServedRequest, status: int) -> None:
        if not isinstance(known, KnownRequest):
            return
        if self._upload is not None:
            self._drop_upload()
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

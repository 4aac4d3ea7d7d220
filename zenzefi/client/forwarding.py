"""Forwards requests to the gate: connections, bodies and WebSockets as the gate itself does it.

The headers are passed on as bytes in their order. Only those that concern one connection are
replaced (RFC 9110, 7.6.1), and those by which the agent identifies itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from aiohttp import web
from aiohttp.http import HttpVersion11

from zenzefi.http.error_responses import is_event_source
from zenzefi.http.expect_continue import expectation_of
from zenzefi.http.request_handler import cancelled_when_lost
from zenzefi.http.target import Target
from zenzefi.http.validation import check
from zenzefi.origin import PROXY_PREFIX, Origin
from zenzefi.proxy.browser.awaited_response import AwaitedResponse
from zenzefi.proxy.browser.requesting import RequestingConnection
from zenzefi.proxy.errors import UpstreamUnreachable
from zenzefi.proxy.headers.pairs import Pairs, named_by_connection, of_one_connection
from zenzefi.proxy.headers.request import REQUEST_RULES, request_head
from zenzefi.proxy.headers.response import RESPONSE_RULES
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.connection_auth import has_credentials
from zenzefi.proxy.upstream.limits import Limits
from zenzefi.proxy.upstream.ownership import ConnectionOwner
from zenzefi.proxy.upstream.pool import ConnectionPurpose, Upstream
from zenzefi.proxy.upstream.response_head import PlainHeadReader
from zenzefi.proxy.upstream.sinks import BodySink, ResponseStart, deliver
from zenzefi.proxy.websocket.frames import CLOSE_GOING_AWAY
from zenzefi.proxy.websocket.opening import is_websocket
from zenzefi.proxy.websocket.relay import GOODBYE_SECONDS, WebSocketRelay
from zenzefi.sliced_calls import SlicedCalls
from zenzefi.tokens.open_connections import ClientIdentity
from zenzefi.upstream_tls import UpstreamTls

_CONNECT_SECONDS = 15.0
_SILENT_SECONDS = 24 * 3600.0  # the gate has the timeouts; TCP keep-alive detects a lost network
_PING_SECONDS = 60.0  # the gate pings more often
_CONNECTIONS = 1024  # of one computer; the gate has lower limits

_NOT_SENT = of_one_connection(REQUEST_RULES) | {
    # Set by the agent; a page must not be able to set them.
    b"host",
    b"expect",
    b"proxy-authorization",
    b"http2-settings",
    b"x-access-token",
    b"x-device-id",
    b"forwarded",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-forwarded-prefix",
}
_NOT_RECEIVED = of_one_connection(RESPONSE_RULES) | {b"proxy-authenticate"}
_THE_TOKEN = UUID(int=0)  # the pool shares its connections between tokens: here there is one
_THE_USER = ClientIdentity(None, "", "")


@dataclass
class Traffic:
    """Traffic since the start: requests, and bytes of bodies to and from the application."""

    requests: int = 0
    sent: int = 0
    received: int = 0


@dataclass(frozen=True)
class AgentRequest:
    """The facts of the request that the connection serves."""

    keep_alive: bool
    is_http_10: bool
    purpose: ConnectionPurpose


class AgentConnection(RequestingConnection):
    """A browser's connection to the agent: responses pass with other headers, and no more."""

    head_table = PlainHeadReader()
    _known: AgentRequest | None

    def purpose(self) -> ConnectionPurpose:
        """See :class:`RequestingConnection`."""
        if self._known is None:
            raise UpstreamUnreachable
        return self._known.purpose

    def _shared_by(self) -> UUID | None:
        purpose = self.purpose()
        return None if purpose.is_long_lived or purpose.is_authenticating else purpose.token_id

    def owner(self) -> ConnectionOwner | None:
        """See :class:`~zenzefi.proxy.browser.connection.SendingConnection`."""
        return None if self.is_lost else ConnectionOwner(self, _THE_TOKEN, _THE_USER)

    def interim(self, status: int, headers: Pairs) -> None:
        """Pass a 1xx response on."""
        self.write_interim(status, _without(headers, _NOT_RECEIVED))

    def receive(
        self,
        connection: UpstreamConnection | None,
        response: ResponseStart,
        *,
        was_searched: bool,
    ) -> BodySink:
        """See :class:`~zenzefi.proxy.browser.connection.SendingConnection`."""
        head = response.plain()
        lines = [b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason)]
        lines += [b"%b: %b\r\n" % pair for pair in _without(head.headers, _NOT_RECEIVED)]
        length: int | None = head.length
        if length == -1 or head.status == 204:
            length = -1 if response.has_body else None
        if connection is not None:
            deliver(connection, response, self)
        self.head(head.status, lines, length, response.first, is_done=response.is_done)
        return self

    def serve_agent(
        self, known: AgentRequest, awaited: AwaitedResponse, upstream: Upstream
    ) -> None:
        """Send the response that ``awaited`` is for, and its request to ``upstream``."""
        self._upstream = upstream
        self.serve(known, awaited, b"")

    def forward(self, request: web.BaseRequest, head: bytes) -> None:
        """Send a request that is served; ``head``: for the gate."""
        self._request_method = request.method.encode()
        self._outgoing = head
        self._received = 0
        if request.body_exists:
            expects_continue = _expects_continue(request)
            self._upload = self._new_upload(
                request.content_length, expects_continue=expects_continue, is_parsed=True
            )
        self.send_request()
        self.content_wanted()


class AgentForwarder:
    """Forwards to the gate at ``origin``; ``identity``: the headers that identify the agent."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None, identity: Pairs) -> None:
        if tls is None and origin.scheme == "https":
            tls = ssl.create_default_context()
        limits = Limits(*[_CONNECTIONS] * 6)
        self._upstream = Upstream(
            origin,
            tls=UpstreamTls(tls) if tls is not None else None,
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_SILENT_SECONDS,
            queue_timeout=_CONNECT_SECONDS,
            limits=limits,
        )
        self._identity = [(b"Host", origin.authority.encode()), *identity]
        self._total = Traffic()
        self._relays: set[WebSocketRelay] = set()
        self._serving: set[AgentConnection] = set()
        self._finishing = SlicedCalls()
        self.has_news = False
        """Whether the gate has ended a WebSocket: the token may have ended."""

    @property
    def traffic(self) -> Traffic:
        """Traffic so far, that of open streams and WebSockets included."""
        total = self._total
        sent = total.sent + sum(client.received for client in self._serving)
        received = total.received + sum(client.sent for client in self._serving)
        for relay in self._relays:
            up, down = relay.progress()
            sent, received = sent + up, received + down
        return Traffic(total.requests, sent, received)

    def start(self) -> None:
        """Begin to watch the connections."""
        self._upstream.start()

    async def drain(self) -> None:
        """End the WebSockets (1001), and wait shortly."""
        ending = list(self._relays)
        for relay in ending:
            relay.end(CLOSE_GOING_AWAY, "The agent was stopped.")
        if ending:
            await asyncio.wait([relay.done for relay in ending], timeout=GOODBYE_SECONDS + 1)

    async def close(self) -> None:
        """Close all connections."""
        await self._upstream.close()

    async def forward(self, request: web.BaseRequest) -> web.StreamResponse:
        """Forward the request and stream the response back.

        Raises :class:`GateError` while another response is possible.
        """
        target = check(request)
        target = Target(PROXY_PREFIX + target.path, target.query)
        self._total.requests += 1
        return await self._serve(request, target)

    async def _serve(self, request: web.BaseRequest, target: Target) -> AwaitedResponse:
        client = cast(AgentConnection, request.protocol)
        awaited = AwaitedResponse(request, client)
        known = AgentRequest(
            bool(request.keep_alive),
            request.version < HttpVersion11,
            self._purpose(request, client),
        )
        client.serve_agent(known, awaited, self._upstream)
        self._serving.add(client)
        try:
            if is_websocket(request):
                await self._relay(request, target, client, awaited)
            else:
                with cancelled_when_lost(request):
                    head = request_head(request.method, target, self._headers(request))
                    client.forward(request, head)
                    await awaited.ended
        finally:
            client.give_up(awaited)
            self._serving.discard(client)
            self._total.sent += client.received
            self._total.received += awaited.sent
        return awaited

    async def _relay(
        self,
        request: web.BaseRequest,
        target: Target,
        client: AgentConnection,
        awaited: AwaitedResponse,
    ) -> None:
        pairs = self._headers(request)
        pairs += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
        with cancelled_when_lost(request):
            client.shake_hands(request_head("GET", target, pairs))
            await awaited.ended
        upgrade = awaited.upgrade
        if upgrade is None:  # the refusal was sent
            return
        # A browser that has disconnected meanwhile needs no response.
        with contextlib.suppress(ConnectionError):
            client.upgrade(_without(upgrade.head.headers, _NOT_RECEIVED))
            relay = WebSocketRelay(request, upgrade, _PING_SECONDS, self._finishing)
            await self._run(relay)

    async def _run(self, relay: WebSocketRelay) -> None:
        self._relays.add(relay)
        try:
            await relay.run()
        finally:
            relay.abort()
            self._relays.discard(relay)
            up, down = relay.progress()
            self._total.sent += up
            self._total.received += down
            self.has_news = self.has_news or relay.is_ended_by_upstream

    def _headers(self, request: web.BaseRequest) -> Pairs:
        """The headers for the gate, with those of the content's framing."""
        pairs = [*self._identity, *_without(request._message.raw_headers, _NOT_SENT)]
        length = request.content_length
        if length is not None:
            pairs.append((b"Content-Length", b"%d" % length))
        elif request.body_exists:
            pairs.append((b"Transfer-Encoding", b"chunked"))
        if request.body_exists and _expects_continue(request):
            pairs.append((b"Expect", b"100-continue"))
        return pairs

    def _purpose(self, request: web.BaseRequest, client: AgentConnection) -> ConnectionPurpose:
        return ConnectionPurpose(
            _THE_TOKEN,
            _THE_USER,
            client,
            _nothing,
            is_long_lived=is_event_source(request) or is_websocket(request),
            is_authenticating=has_credentials(request._message.raw_headers),
        )


def _expects_continue(request: web.BaseRequest) -> bool:
    return request.version == HttpVersion11 and expectation_of(request) is not None


async def _nothing() -> None:
    """The gate rechecks the token itself."""


def _without(raw: Iterable[tuple[bytes, bytes]], names: frozenset[bytes]) -> Pairs:
    """The headers without these names, and without those that ``Connection`` names."""
    pairs = list(raw)
    dropped = names | named_by_connection(pairs)
    return [(name, value) for name, value in pairs if name.lower() not in dropped]

"""HTTP requests that a task sends: what has to be awaited is awaited here.

The response is sent by callbacks (:mod:`zenzefi.proxy.forwarding`), as for every request. The task
awaits what comes before it: a connection, the beginning of the response, the token's activation;
and then the end of the response.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol, cast

from aiohttp import web

from zenzefi.errors import GateError, UpstreamProtocolError
from zenzefi.http.client_address import client_address_of
from zenzefi.http.error_responses import is_event_source
from zenzefi.http.target import Target
from zenzefi.origin import Mount
from zenzefi.proxy.browser.awaited_response import AwaitedResponse, CountingClient
from zenzefi.proxy.browser.client_body import ClientBody, InvitingClient
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.headers.request import RequestPolicy, request_head, request_headers
from zenzefi.proxy.headers.response import response_headers
from zenzefi.proxy.interfaces import TokenValidation
from zenzefi.proxy.method_override import InspectedBody
from zenzefi.proxy.private_response import private
from zenzefi.proxy.proxied_response import ProxiedResponse
from zenzefi.proxy.proxy_request import EngineRequest, ProxyRequest
from zenzefi.proxy.rewriter import Answer, MappedResponse, ResponseHead, Rewriter
from zenzefi.proxy.upstream.connection_auth import has_credentials
from zenzefi.proxy.upstream.exchange import ExchangingClient, RequestBody, UpstreamExchange
from zenzefi.proxy.upstream.ownership import ClientConnection
from zenzefi.proxy.upstream.pool import ConnectionPurpose, Upstream
from zenzefi.tokens.errors import SignInRequired
from zenzefi.tokens.open_connections import ClientIdentity

log = logging.getLogger(__name__)


class OpenStream(Protocol):
    """A response that does not end by itself."""

    def break_off(self) -> None:
        """End it; the client detects that its end is missing."""


class SendingClient(ClientConnection, CountingClient, ExchangingClient, InvitingClient, Protocol):
    """The client's connection, which sends responses."""

    def serve(self, awaited: AwaitedResponse) -> None:
        """Send the response that ``awaited`` is for, from now on until it has ended."""

    def give_up(self, awaited: AwaitedResponse) -> None:
        """The task does not await this response any more."""

    def check_pending(self, request: web.BaseRequest) -> None:
        """Raise the error of the callbacks for this request, if there is one."""

    def head(
        self, status: int, lines: list[bytes], length: int | None, first: bytes, *, is_done: bool
    ) -> None:
        """See :class:`~zenzefi.proxy.forwarding.rewritten_response.RewritingClient`."""

    def upgrade(self, pairs: Pairs) -> None:
        """Write a 101; the task owns the transport afterwards.

        Raises ``ConnectionResetError`` if the client has disconnected.
        """


def client_of(request: web.BaseRequest) -> SendingClient:
    """The client's connection; the server makes no other kind."""
    return cast(SendingClient, request.protocol)


class HttpForwarder:
    """Forwards HTTP requests to the one upstream."""

    def __init__(
        self,
        upstream: Upstream,
        policy: RequestPolicy,
        token_validator: TokenValidation,
        rewriter: Rewriter,
    ) -> None:
        self._upstream = upstream
        self.policy = policy
        self._token_validator = token_validator
        self.rewriter = rewriter
        self.event_streams: set[OpenStream] = set()

    def drain(self) -> None:
        """End the event streams, which would not end by themselves: browsers connect again."""
        for stream in list(self.event_streams):
            stream.break_off()

    async def forward(self, proxied: ProxyRequest) -> ProxiedResponse:
        """Forward the request and await the end of the response.

        Raises a :class:`GateError` only while another response is possible; a body that
        breaks later is broken off, so that the browser sees it. The token is activated as soon as
        the upstream has responded.
        """
        request = proxied.request
        client = client_of(request)
        awaited = ProxiedResponse(proxied, client)
        proxied.tracking.progress = lambda: (request.content.total_bytes, awaited.sent)
        client.serve(awaited)
        try:
            early = self.rewriter.early(proxied.for_engine)
            if early is not None:
                send_answer(client, request.method, early)
            elif request.body_exists:
                # An upload may last: it ends with the token.
                with self._token_validator.register(
                    proxied.access, _closer(request), proxied.client_identity
                ):
                    await self._exchange(proxied, client, awaited)
            else:
                await self._exchange(proxied, client, awaited)
            await awaited.ended
        finally:
            client.give_up(awaited)
        return awaited

    async def _exchange(
        self, proxied: ProxyRequest, client: SendingClient, awaited: ProxiedResponse
    ) -> None:
        request = proxied.request
        purpose = self.purpose(proxied, is_long_lived=is_event_source(request))
        body: ClientBody | None = None
        content: RequestBody | None = None
        if request.body_exists:
            body = ClientBody(request, client, self._upstream.read_timeout)
            inspection = proxied.inspection
            content = body if inspection is None else InspectedBody(body, inspection)
        target, pairs = proxied.target, self._pairs(proxied, is_bodiless=body is None)
        changed = await self.rewriter.through_plugins(proxied.for_engine, target, pairs, content)
        if changed is not None:
            if changed.answer is not None:
                send_answer(client, request.method, changed.answer)
                await awaited.ended
                return
            target, pairs, content = changed.target, changed.headers, changed.content
        head = _head(request.method, target, pairs, content)
        while True:
            exchange = await self._upstream.send(request.method, head, content, client, purpose)
            try:
                await self.deliver(proxied, exchange, awaited)
                unwanted = await awaited.ended
            finally:
                await exchange.close()
            if unwanted is None:
                return
            await unwanted.skip()
            awaited.renew()
            awaited.may_refetch = False
            pairs = [pair for pair in pairs if pair[0].lower() not in (b"range", b"if-range")]
            head = _head(request.method, target, pairs, content)

    async def deliver(
        self, proxied: ProxyRequest, exchange: UpstreamExchange, awaited: ProxiedResponse
    ) -> None:
        """Activate the token, and let callbacks send the response that has begun."""
        parked = exchange.parked
        if parked is not None:
            if not proxied.access.is_activated:
                access = await self._token_validator.activate(proxied.access)
                awaited.for_engine = proxied.activated(access).for_engine
            parked.deliver()

    async def instead_of_error(
        self, proxied: ProxyRequest, error: GateError
    ) -> ProxiedResponse | None:
        """Send a plugin's response to a request that the upstream did not respond to, if any."""
        answer = self.rewriter.instead_of_error(proxied.for_engine, error)
        if answer is None:
            return None
        client = client_of(proxied.request)
        awaited = ProxiedResponse(proxied, client)
        client.serve(awaited)
        try:
            send_answer(client, proxied.request.method, answer)
            await awaited.ended
        finally:
            client.give_up(awaited)
        return awaited

    def purpose(self, proxied: ProxyRequest, *, is_long_lived: bool) -> ConnectionPurpose:
        """The purpose of this request's upstream connection."""
        request = proxied.request
        # A reverse proxy's connection to the gate carries the requests of many browsers.
        is_shared = client_address_of(request).is_behind_trusted_proxy
        raw = request._message.raw_headers
        return ConnectionPurpose(
            proxied.access.token_id,
            proxied.client_identity,
            None if is_shared else client_of(request),
            partial(revalidate, self._token_validator, proxied.token, proxied.client_identity),
            is_long_lived=is_long_lived,
            is_authenticating=self.policy.authorization is None and has_credentials(raw),
        )

    def interim(self, request: EngineRequest, status: int, pairs: Pairs) -> Pairs:
        """The headers of a 1xx response. Raises :class:`UpstreamProtocolError`."""
        return self.rewriter.interim(request, status, self._mapped(pairs, request.mount))

    def must_refetch(self, request: EngineRequest, response: ResponseHead) -> bool:
        """Whether the response is a part of a body that must be rewritten as a whole."""
        return self.rewriter.must_refetch(request, response)

    def head(self, request: EngineRequest, response: ResponseHead) -> MappedResponse:
        """The response's head for this browser. Raises :class:`UpstreamProtocolError`."""
        pairs = self._mapped(response.headers, request.mount)
        if response.length is not None:
            pairs.append((b"Content-Length", b"%d" % response.length))
        if response.status == 426:
            pairs += _upgrade_for_426(response.headers)
        return private(response.status, self.rewriter.response(request, response, pairs))

    def _pairs(self, proxied: ProxyRequest, *, is_bodiless: bool) -> Pairs:
        """The headers for the upstream, without the framing of the content."""
        pairs = request_headers(
            proxied.request._message.raw_headers,
            self.policy,
            proxied.mount,
            proxied.identity,
            proxied.unmapper,
            is_bodiless=is_bodiless,
            token=proxied.token,
        )
        return self.rewriter.request(proxied.for_engine, pairs)

    def _mapped(self, pairs: Pairs, mount: Mount) -> Pairs:
        try:
            return response_headers(pairs, self.policy.upstream, mount)
        except ValueError:
            raise UpstreamProtocolError from None


def _head(method: str, target: Target, pairs: Pairs, content: RequestBody | None) -> bytes:
    pairs = list(pairs)
    if content is None:
        # RFC 9110, 8.6: methods that anticipate content say that there is none.
        if method in ("POST", "PUT", "PATCH"):
            pairs.append((b"Content-Length", b"0"))
    elif content.length is None:
        pairs.append((b"Transfer-Encoding", b"chunked"))
    else:
        pairs.append((b"Content-Length", b"%d" % content.length))
    if content is not None and content.expects_continue:
        pairs.append((b"Expect", b"100-continue"))
    return request_head(method, target, pairs)


def send_answer(client: SendingClient, method: str, answer: Answer) -> None:
    """Send a plugin's response. The upstream did not respond, so the token is not activated."""
    status, mapped, body = answer
    lines = [b"HTTP/1.1 %d \r\n" % status, *(b"%b: %b\r\n" % pair for pair in mapped.headers)]
    has_body = method != "HEAD" and status not in (204, 304)
    length = None if status == 204 else len(body)
    client.head(status, lines, length, body if has_body else b"", is_done=True)


def _upgrade_for_426(pairs: Pairs) -> Pairs:
    """The ``Upgrade`` of a 426, the one response that must carry it (RFC 9110, 15.5.22).

    WebSocket alone: to nothing else could this connection be switched.
    """
    named = [v for name, value in pairs if name.lower() == b"upgrade" for v in value.split(b",")]
    if b"websocket" not in (value.strip().lower() for value in named):
        return []
    return [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]


async def revalidate(token_validator: TokenValidation, token: str, client: ClientIdentity) -> None:
    """Once something is held: was the token or the sign-in ended just before?

    Raises :class:`SignInRequired` and what ``validate`` raises.
    """
    if token_validator.is_signed_out(client):
        raise SignInRequired
    if token_validator.cached(token) is None:
        await token_validator.validate(token)


def _closer(request: web.BaseRequest) -> Callable[[str], None]:
    """Ends this exchange at once, uncleanly: the token behind it has ended."""

    def close(_reason: str) -> None:
        if request.transport is not None:
            request.transport.abort()

    return close

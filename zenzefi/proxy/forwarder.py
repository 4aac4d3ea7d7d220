"""The interface between the tasks of requests and the callbacks that serve them.

A task awaits the admission of a request. Then callbacks send it and its response
(:mod:`zenzefi.proxy.forwarding`), and the task awaits the end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol, cast

from aiohttp import web

from zenzefi.errors import UpstreamProtocolError
from zenzefi.origin import Mount
from zenzefi.proxy.browser.awaited_response import AwaitedResponse, CountingClient
from zenzefi.proxy.content_reader import ContentReader
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.headers.request import RequestPolicy, request_headers
from zenzefi.proxy.headers.response import response_headers
from zenzefi.proxy.interfaces import RequestTracking, TokenValidation
from zenzefi.proxy.method_override import ContentInspection
from zenzefi.proxy.private_response import private
from zenzefi.proxy.proxy_request import EngineRequest, ProxyRequest
from zenzefi.proxy.rewriter import Answer, MappedResponse, PluginRequest, ResponseHead, Rewriter
from zenzefi.rewriting.plugins.served import is_plugin_path
from zenzefi.tokens.errors import SignInRequired
from zenzefi.tokens.open_connections import ClientIdentity

log = logging.getLogger(__name__)


class OpenStream(Protocol):
    """A response that does not end by itself."""

    def break_off(self) -> None:
        """End it; the client detects that its end is missing."""


class ServingClient(CountingClient, Protocol):
    """The client's connection, which serves requests."""

    def serve_proxied(self, proxied: ProxyRequest, awaited: AwaitedResponse) -> None:
        """Send the response that ``awaited`` is for, from now on until it has ended."""

    def forward(self, proxied: ProxyRequest, outgoing: PluginRequest) -> None:
        """Send the request."""

    def send_continue(self) -> None:
        """Send 100 Continue to the client, unless its content is here already."""

    def send_answer(self, answer: Answer) -> None:
        """Send a plugin's response."""

    def give_up(self, awaited: AwaitedResponse) -> None:
        """The task does not await this response any more."""

    def shake_hands(self, head: bytes) -> None:
        """Send the handshake of a WebSocket."""

    def check_pending(self, request: web.BaseRequest) -> None:
        """Raise the error of the callbacks for this request, if there is one."""

    def upgrade(self, pairs: Pairs) -> None:
        """Write a 101; the task owns the transport afterwards.

        Raises ``ConnectionResetError`` if the client has disconnected.
        """


def client_of(request: web.BaseRequest) -> ServingClient:
    """The client's connection; the server makes no other kind."""
    return cast(ServingClient, request.protocol)


class HttpForwarder:
    """Maps the heads of requests and responses, and awaits responses for tasks."""

    def __init__(
        self,
        policy: RequestPolicy,
        rewriter: Rewriter,
        read_timeout: float,
    ) -> None:
        """``read_timeout``: seconds without a byte of a content."""
        self.policy = policy
        self._read_timeout = read_timeout
        self.rewriter = rewriter
        self.event_streams: set[OpenStream] = set()

    def drain(self) -> None:
        """End the event streams, which would not end by themselves: browsers connect again."""
        for stream in list(self.event_streams):
            stream.break_off()

    async def forward(self, proxied: ProxyRequest, tracking: RequestTracking) -> AwaitedResponse:
        """Have the request forwarded and await the end of the response.

        Raises a :class:`GateError` only while another response is possible; a body that
        breaks later is broken off, so that the browser sees it. The token is activated as soon as
        the upstream has responded.
        """
        request = proxied.request
        client = client_of(request)
        awaited = AwaitedResponse(request, client)
        tracking.progress = lambda: (request.content.total_bytes, awaited.sent)
        try:
            client.serve_proxied(proxied, awaited)
            outgoing = await self._through_plugins(proxied)
            if outgoing.answer is not None:
                client.send_answer(outgoing.answer)
            else:
                client.forward(proxied, outgoing)
            await awaited.ended
        finally:
            client.give_up(awaited)
        return awaited

    def content(
        self, request: web.BaseRequest, inspection: ContentInspection | None = None
    ) -> ContentReader | None:
        """The content of a request for plugins, ``None`` without one."""
        if not request.body_exists:
            return None
        client = client_of(request)
        return ContentReader(request, client.send_continue, self._read_timeout, inspection)

    async def _through_plugins(self, proxied: ProxyRequest) -> PluginRequest:
        request, for_engine = proxied.request, proxied.for_engine
        if is_plugin_path(proxied.target.path):
            content = self.content(request, proxied.inspection)
            answer = await self.rewriter.page(for_engine, content)
            return PluginRequest(proxied.target, [], answer=answer)
        early = self.rewriter.early(for_engine)
        if early is not None:
            return PluginRequest(proxied.target, [], answer=early)
        content = self.content(request, proxied.inspection)
        pairs = self.request_pairs(proxied, request._message.raw_headers)
        pairs = self.rewriter.request(for_engine, pairs)
        return await self.rewriter.through_plugins(for_engine, proxied.target, pairs, content)

    def request_pairs(self, proxied: ProxyRequest, raw: Iterable[tuple[bytes, bytes]]) -> Pairs:
        """The headers for the upstream, made of the client's, before the engine changes them."""
        return request_headers(
            raw,
            self.policy,
            proxied.mount,
            proxied.identity,
            proxied.unmapper,
            is_bodiless=not proxied.request.body_exists,
            token=proxied.token,
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

    def _mapped(self, pairs: Pairs, mount: Mount) -> Pairs:
        try:
            return response_headers(pairs, self.policy.upstream, mount)
        except ValueError:
            raise UpstreamProtocolError from None


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

"""One HTTP request through the gate: head out, head back, body streamed, rewritten if need be."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Protocol

from aiohttp import web

from zenzefi.errors import UpstreamProtocolError
from zenzefi.http.client_address import client_address_of
from zenzefi.http.error_responses import is_event_source
from zenzefi.http.request_handler import GateRequestHandler
from zenzefi.origin import Mount
from zenzefi.proxy.browser_response import ClientBody, ClientResponse, write_interim
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.headers.request import RequestPolicy, request_head, request_headers
from zenzefi.proxy.headers.response import response_headers
from zenzefi.proxy.held_body import hold
from zenzefi.proxy.interfaces import TokenValidation
from zenzefi.proxy.method_override import InspectedBody
from zenzefi.proxy.private_response import private
from zenzefi.proxy.proxy_request import EngineRequest, ProxyRequest
from zenzefi.proxy.rewriter import (
    BodyTransform,
    MappedResponse,
    ResponseHead,
    Rewriter,
)
from zenzefi.proxy.streaming import aborting_after_begin, stream
from zenzefi.proxy.upstream.connection_auth import has_credentials
from zenzefi.proxy.upstream.exchange import (
    UpstreamResponse,
)
from zenzefi.proxy.upstream.pool import ConnectionPurpose, Upstream
from zenzefi.rewriting.origin_search import LONGEST
from zenzefi.tokens.errors import SignInRequired
from zenzefi.tokens.open_connections import ClientIdentity

log = logging.getLogger(__name__)

_LONGEST_WITHHELD = 0.05  # seconds
_SLICE = 16 * 1024  # bytes fed to a rewriter before the loop gets its turn: below 20 ms on any page


class OpenStream(Protocol):
    """A response that does not end by itself."""

    def break_off(self) -> None:
        """End it; the client detects that its end is missing."""


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
        for client in list(self.event_streams):
            client.break_off()

    async def forward(self, proxied: ProxyRequest) -> ClientResponse:
        """Forward the request and stream the response back.

        Raises a :class:`GateError` only while another response is possible; a body that
        breaks later is broken off, so that the browser sees it. The token is activated as soon as
        the upstream has responded.
        """
        request = proxied.request
        body = ClientBody(request, self._upstream.read_timeout) if request.body_exists else None
        early = self.rewriter.early(proxied.for_engine)
        if early is not None:
            return await self._early(proxied, *early)
        head = self._head(proxied, body)

        def on_interim(status: int, pairs: Pairs) -> None:
            write_interim(request, status, self.interim(proxied.for_engine, status, pairs))

        purpose = self.purpose(proxied, is_long_lived=is_event_source(request))
        if body is None:
            response = await self._upstream.send(request.method, head, None, on_interim, purpose)
            if self.rewriter.must_refetch(proxied.for_engine, response):
                await response.skip()
                head = self._head(proxied, None, without_range=True)
                response = await self._upstream.send(
                    request.method, head, None, on_interim, purpose
                )
            return await self._pass_on(proxied, response)
        # An upload may last: it ends with the token.
        proxied.tracking.progress = lambda: (request.content.total_bytes, 0)
        with self._token_validator.register(
            proxied.access, _closer(request), proxied.client_identity
        ):
            inspection = proxied.inspection
            content = body if inspection is None else InspectedBody(body, inspection)
            response = await self._upstream.send(request.method, head, content, on_interim, purpose)
            return await self._pass_on(proxied, response)

    def purpose(self, proxied: ProxyRequest, *, is_long_lived: bool) -> ConnectionPurpose:
        """The purpose of this request's upstream connection."""
        request = proxied.request
        handler = request.protocol
        # A reverse proxy's connection to the gate carries the requests of many browsers.
        is_shared = client_address_of(request).is_behind_trusted_proxy
        client = handler if isinstance(handler, GateRequestHandler) and not is_shared else None
        raw = request._message.raw_headers
        return ConnectionPurpose(
            proxied.access.token_id,
            proxied.client_identity,
            client,
            partial(revalidate, self._token_validator, proxied.token, proxied.client_identity),
            is_long_lived=is_long_lived,
            is_authenticating=self.policy.authorization is None and has_credentials(raw),
        )

    async def _pass_on(self, proxied: ProxyRequest, response: UpstreamResponse) -> ClientResponse:
        try:
            if not proxied.access.is_activated:
                await self._token_validator.activate(proxied.access)
            return await self.respond(proxied, response)
        finally:
            await response.close()

    async def respond(self, proxied: ProxyRequest, response: UpstreamResponse) -> ClientResponse:
        """Stream a response that has begun to the browser.

        The interface to the fast path: it hands over an :class:`UpstreamResponse` here
        and closes it afterwards.
        """
        request = proxied.request
        mapped = self.head(proxied.for_engine, response)
        held = b""
        if mapped.unless_found is not None and response.has_body:
            held = await hold(response) if response.may_pass_unchanged else response.read_ready()
            is_whole = response.is_complete and len(held) <= LONGEST
            if not is_whole or mapped.unless_found.finds(held):
                mapped = mapped.unless_found.otherwise()
        client = ClientResponse(
            response.status,
            response.reason,
            mapped.headers,
            length=mapped.length,
            has_body=response.has_body,
        )
        proxied.tracking.progress = lambda: (request.content.total_bytes, client.sent)
        # Unread request content can't be skipped safely: the connection ends.
        keep_alive = not request.body_exists or request.content.is_eof()
        keep_alive = keep_alive and not response.closes_client
        if mapped.rewrite is not None and response.has_body:
            await self._rewritten(
                proxied, response, client, mapped.rewrite, held, keep_alive=keep_alive
            )
            return client
        first = held + response.read_ready()
        if response.is_complete:
            with contextlib.suppress(OSError):
                await client.begin(request, first, is_last=True, keep_alive=keep_alive)
            return client
        if not first and (failure := response.failure) is not None:
            raise failure  # nothing has been sent: another response can be given
        with self._registered(proxied, client):
            await revalidate(self._token_validator, proxied.token, proxied.client_identity)
            await stream(request, response, client, first, keep_alive=keep_alive)
        return client

    @contextlib.contextmanager
    def _registered(self, proxied: ProxyRequest, client: ClientResponse) -> Iterator[None]:
        """Let the response end with its token, and an event stream also when the process drains."""
        if client.content_type == "text/event-stream":
            self.event_streams.add(client)
        closer = _closer(proxied.request)
        try:
            with self._token_validator.register(proxied.access, closer, proxied.client_identity):
                yield
        finally:
            self.event_streams.discard(client)

    def interim(self, request: EngineRequest, status: int, pairs: Pairs) -> Pairs:
        """The headers of a 1xx response. Raises :class:`UpstreamProtocolError`."""
        return self.rewriter.interim(request, status, self._mapped(pairs, request.mount))

    def head(self, request: EngineRequest, response: ResponseHead) -> MappedResponse:
        """The response's head for this browser. Raises :class:`UpstreamProtocolError`."""
        pairs = self._mapped(response.headers, request.mount)
        if response.length is not None:
            pairs.append((b"Content-Length", b"%d" % response.length))
        if response.status == 426:
            pairs += _upgrade_for_426(response.headers)
        return private(response.status, self.rewriter.response(request, response, pairs))

    async def _rewritten(
        self,
        proxied: ProxyRequest,
        response: UpstreamResponse,
        client: ClientResponse,
        rewrite: BodyTransform,
        held: bytes,
        *,
        keep_alive: bool,
    ) -> None:
        request = proxied.request

        async def out(data: bytes) -> None:
            if client.is_begun:
                await client.send(data)
            elif data:
                await client.begin(request, data, is_last=False, keep_alive=keep_alive)

        with aborting_after_begin(client), self._registered(proxied, client):
            await revalidate(self._token_validator, proxied.token, proxied.client_identity)
            while piece := held or await _read_in_time(response, rewrite, out):
                held = b""
                for start in range(0, len(piece), _SLICE):
                    for made in rewrite.slices(piece[start : start + _SLICE]):
                        await out(made)
                        await asyncio.sleep(0)
            if rewrite.heavy:
                rest = await asyncio.to_thread(rewrite.finish)
            else:
                rest = rewrite.finish()
            if client.is_begun:
                await client.send(rest)
                await client.finish()
            else:
                await client.begin(request, rest, is_last=True, keep_alive=keep_alive)

    async def _early(
        self, proxied: ProxyRequest, status: int, mapped: MappedResponse, body: bytes
    ) -> ClientResponse:
        """Send a plugin's response. The upstream did not respond, so the token is not activated."""
        request = proxied.request
        has_body = request.method != "HEAD" and status not in (204, 304)
        client = ClientResponse(status, b"", mapped.headers, length=len(body), has_body=has_body)
        proxied.tracking.progress = lambda: (request.content.total_bytes, client.sent)
        with contextlib.suppress(OSError):
            await client.begin(
                request,
                body if has_body else b"",
                is_last=True,
                keep_alive=not request.body_exists or request.content.is_eof(),
            )
        return client

    def _head(
        self, proxied: ProxyRequest, body: ClientBody | None, *, without_range: bool = False
    ) -> bytes:
        request = proxied.request
        pairs = request_headers(
            request._message.raw_headers,
            self.policy,
            proxied.mount,
            proxied.identity,
            proxied.unmapper,
            is_bodiless=body is None,
            token=proxied.token,
        )
        pairs = self.rewriter.request(proxied.for_engine, pairs)
        if without_range:
            pairs = [pair for pair in pairs if pair[0].lower() not in (b"range", b"if-range")]
        if body is None:
            # RFC 9110, 8.6: methods that anticipate content say that there is none.
            if request.method in ("POST", "PUT", "PATCH"):
                pairs.append((b"Content-Length", b"0"))
        elif body.length is None:
            pairs.append((b"Transfer-Encoding", b"chunked"))
        else:
            pairs.append((b"Content-Length", b"%d" % body.length))
        if body is not None and body.expects_continue:
            pairs.append((b"Expect", b"100-continue"))
        return request_head(request.method, proxied.target, pairs)

    def _mapped(self, pairs: Pairs, mount: Mount) -> Pairs:
        try:
            return response_headers(pairs, self.policy.upstream, mount)
        except ValueError:
            raise UpstreamProtocolError from None


async def _read_in_time(
    response: UpstreamResponse, rewrite: BodyTransform, out: Callable[[bytes], Awaitable[None]]
) -> bytes:
    """The next piece of the body. If it is late, what the rewriting withholds is sent meanwhile."""
    if not rewrite.withholds:
        return await response.read()
    reading = asyncio.ensure_future(response.read())
    try:
        done, _ = await asyncio.wait((reading,), timeout=_LONGEST_WITHHELD)
        if not done:
            await out(rewrite.release())
        return await reading
    finally:
        if not reading.cancel() and not reading.cancelled():
            reading.exception()  # else asyncio logs it if out() failed first


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


def check_pending(request: web.BaseRequest) -> None:
    """Raise the error of the fast path (:mod:`zenzefi.proxy.fast_path`) for this request."""
    check = getattr(request.protocol, "check_pending", None)
    if check is not None:
        check(request)


def _closer(request: web.BaseRequest) -> Callable[[str], None]:
    """Ends this exchange at once, uncleanly: the token behind it has ended."""

    def close(_reason: str) -> None:
        if request.transport is not None:
            request.transport.abort()

    return close

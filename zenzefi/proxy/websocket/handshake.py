"""WebSockets through the gate: handshake with the upstream, then the 101, then the relay."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
from functools import partial

from zenzefi.errors import UpstreamProtocolError
from zenzefi.http.request_handler import cancelled_when_lost
from zenzefi.observability.metrics import WEBSOCKETS_OPEN
from zenzefi.proxy.browser.awaited_response import AwaitedResponse
from zenzefi.proxy.forwarder import (
    HttpForwarder,
    ServingClient,
    client_of,
    revalidate,
)
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.headers.request import request_head
from zenzefi.proxy.interfaces import RequestTracking, TokenValidation
from zenzefi.proxy.proxy_request import ProxyRequest
from zenzefi.proxy.rewriter import MappedHead, Rewriter
from zenzefi.proxy.upstream.response_head import PlainHead
from zenzefi.proxy.websocket.frames import CLOSE_GOING_AWAY, CLOSE_TOKEN_ENDED
from zenzefi.proxy.websocket.rate_limit import WebSocketRateLimits
from zenzefi.proxy.websocket.relay import GOODBYE_SECONDS, WebSocketRelay
from zenzefi.sliced_calls import SLICE, SlicedCalls

log = logging.getLogger(__name__)

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_PING_SECONDS = 30.0


class WebSocketProxy:
    """Relays WebSockets to the one upstream, and knows the open ones."""

    def __init__(
        self,
        token_validator: TokenValidation,
        http: HttpForwarder,
        rewriter: Rewriter,
        metering: WebSocketRateLimits,
        *,
        ping_seconds: float = _PING_SECONDS,
    ) -> None:
        self._token_validator = token_validator
        self._http = http
        self._rewriter = rewriter
        self._metering = metering
        self._ping_seconds = ping_seconds
        self._open: set[WebSocketRelay] = set()
        self._closing = SlicedCalls()
        # All browsers get their close first, then the upstream: what follows a close costs more.
        self._finishing = SlicedCalls(
            SLICE // 4, lambda: bool(self._closing) or token_validator.is_closing
        )

    @property
    def open_count(self) -> int:
        """WebSockets open now."""
        return len(self._open)

    async def relay(self, proxied: ProxyRequest, tracking: RequestTracking) -> AwaitedResponse:
        """The handshake, then the relay until one side ends.

        Raises a :class:`GateError` while the handshake can still be refused; a refusal by the
        upstream is passed on as it is.
        """
        client = client_of(proxied.request)
        awaited = AwaitedResponse(proxied.request, client)
        try:
            client.serve_proxied(proxied, awaited)
            await self._relay(proxied, tracking, client, awaited)
        finally:
            client.give_up(awaited)
        return awaited

    async def _relay(
        self,
        proxied: ProxyRequest,
        tracking: RequestTracking,
        client: ServingClient,
        awaited: AwaitedResponse,
    ) -> None:
        relay: WebSocketRelay | None = None

        def end(reason: str) -> None:
            if relay is not None:
                relay.end(CLOSE_TOKEN_ENDED, reason)
            elif proxied.request.transport is not None:
                proxied.request.transport.abort()

        # Held from before the handshake on: a token that ends meanwhile is not missed.
        with self._token_validator.register(proxied.access, end, proxied.client_identity):
            await revalidate(self._token_validator, proxied.token, proxied.client_identity)
            plugins = self._rewriter.socket(proxied.for_engine)
            pairs = self._pairs(proxied, is_raw=plugins is None)
            outgoing = await self._rewriter.through_plugins(
                proxied.for_engine, proxied.target, pairs, None
            )
            answer = outgoing.answer or self._rewriter.early(proxied.for_engine)
            if answer is not None:
                client.send_answer(answer)
                await awaited.ended
                return
            pairs = [*outgoing.headers, (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
            with cancelled_when_lost(proxied.request):
                client.shake_hands(request_head("GET", outgoing.target, pairs))
                await awaited.ended
            upgrade = awaited.upgrade
            if upgrade is None:  # the refusal was sent
                return
            pairs = self._accepted(upgrade.head, proxied)
            if not proxied.access.is_activated:
                await self._token_validator.activate(proxied.access)
            # A browser that has disconnected meanwhile needs no response.
            with contextlib.suppress(ConnectionError):
                client.upgrade(pairs)
                relay = WebSocketRelay(
                    proxied.request, upgrade, self._ping_seconds, self._finishing, plugins
                )
                tracking.progress = relay.progress
                await self._run(proxied, relay)
                awaited.end(relay.sent, closes=True)

    async def _run(self, proxied: ProxyRequest, relay: WebSocketRelay) -> None:
        """Until one side ends. Raises nothing: after the 101 no other response is possible."""
        self._open.add(relay)
        WEBSOCKETS_OPEN.inc()
        try:
            with self._metering.watch(proxied.access.token_id, relay):
                await relay.run()
        except Exception:
            log.exception("WebSocket relay failed")
        finally:
            self._open.discard(relay)
            WEBSOCKETS_OPEN.dec()
            relay.abort()

    async def drain(self) -> None:
        """Tell every open WebSocket that this node goes away (1001), and wait shortly."""
        ending = list(self._open)
        reason = "The gate is restarting. Connect again."
        self._closing.add([partial(relay.end, CLOSE_GOING_AWAY, reason) for relay in ending])
        if ending:
            await asyncio.wait([relay.done for relay in ending], timeout=GOODBYE_SECONDS + 1)

    def _pairs(self, proxied: ProxyRequest, *, is_raw: bool) -> Pairs:
        pairs = self._http.request_pairs(proxied, proxied.request._message.raw_headers)
        if not is_raw:  # compressed messages can't be shown to plugins
            pairs = [pair for pair in pairs if pair[0].lower() != b"sec-websocket-extensions"]
        return pairs

    def _accepted(self, upgrade: PlainHead, proxied: ProxyRequest) -> Pairs:
        """The 101's headers for the browser, if it is a proper one (RFC 6455, 4.1)."""
        key = proxied.request.headers.get("Sec-WebSocket-Key", "").encode()
        expected = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
        headers = {name.lower(): value.strip() for name, value in upgrade.headers}
        if (
            headers.get(b"upgrade", b"").lower() != b"websocket"
            or headers.get(b"sec-websocket-accept") != expected
        ):
            log.warning("invalid WebSocket handshake from the upstream")
            raise UpstreamProtocolError
        return self._http.head(proxied.for_engine, MappedHead(upgrade, has_body=False)).headers

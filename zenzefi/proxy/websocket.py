"""WebSockets through the gate: upstream first, then 101, then bytes as they are.

After the handshake both transports are spliced: each side's bytes are written to the other,
reading stops while the other side is slower, and only frame boundaries are followed so that the
gate can put a ping or a close between two frames.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
from collections.abc import Callable
from functools import partial
from typing import cast

from aiohttp import web
from aiohttp.http import HttpVersion11

from zenzefi.errors import CrossSiteRefused, UpstreamProtocolError
from zenzefi.ops.metrics import WEBSOCKETS_OPEN
from zenzefi.proxy.client_side import ClientResponse
from zenzefi.proxy.connection import GateRequestHandler, cancelled_when_lost
from zenzefi.proxy.exchange import Exchange
from zenzefi.proxy.frames import (
    CLOSE_GOING_AWAY,
    CLOSE_TOKEN_ENDED,
    PING,
    FrameCursor,
    close_frame,
)
from zenzefi.proxy.headers import Pairs, RequestPolicy, request_headers
from zenzefi.proxy.http import HttpWay, Passage, Rewriter, check_again, request_head
from zenzefi.proxy.messages import FrameError, MessageFilter
from zenzefi.proxy.metering import Metering
from zenzefi.proxy.seams import Gatekeeper
from zenzefi.proxy.upstream import Upstream
from zenzefi.rewriting.mount import Mount

log = logging.getLogger(__name__)

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_PING_SECONDS = 30.0
_FLUSH_SECONDS = 10.0  # for what is buffered when the other side has ended
_STALL_SECONDS = 300.0  # a side that takes nothing for so long is gone
_GOODBYE_SECONDS = 2.0  # for a frame to end and a close to be read, before the socket goes


def is_websocket(request: web.BaseRequest) -> bool:
    """Whether it is an opening handshake (RFC 6455, 4.2.1), to be refused or relayed as such."""
    headers = request.headers
    if headers.get("Upgrade", "").strip().lower() != "websocket":
        return False
    options = ",".join(headers.getall("Connection", ())).lower().split(",")
    return (
        request.method == "GET"
        # RFC 9110, 7.8: an Upgrade in HTTP/1.0 is ignored.
        and request.version == HttpVersion11
        and "upgrade" in (option.strip() for option in options)
    )


def check_origin(request: web.BaseRequest, mount: Mount) -> None:
    """Refuse a handshake that another site's page made with this browser's cookie.

    RFC 6455, 10.2. Browsers always send Origin; a program without one has no cookie to abuse.
    Raises :class:`CrossSiteRefused`.
    """
    origin = request.headers.get("Origin")
    if origin is None or origin.lower() == str(mount.public):
        return
    scheme, _, authority = origin.lower().partition("://")
    if scheme not in ("http", "https") or authority != request.headers.get("Host", "").lower():
        raise CrossSiteRefused


class WebSocketWay:
    """Relays WebSockets to the one upstream, and knows the open ones."""

    def __init__(
        self,
        upstream: Upstream,
        policy: RequestPolicy,
        gatekeeper: Gatekeeper,
        http: HttpWay,
        rewriter: Rewriter,
        metering: Metering,
        *,
        ping_seconds: float = _PING_SECONDS,
    ) -> None:
        self._upstream = upstream
        self._policy = policy
        self._gatekeeper = gatekeeper
        self._http = http
        self._rewriter = rewriter
        self._metering = metering
        self._ping_seconds = ping_seconds
        self._open: set[Splice] = set()

    @property
    def open_count(self) -> int:
        """WebSockets open now."""
        return len(self._open)

    async def relay(self, passage: Passage) -> ClientResponse:
        """The handshake, then the splice until one side ends.

        Raises a :class:`GateError` while the handshake can still be refused; a refusal by the
        upstream is passed on as it is.
        """
        splice: Splice | None = None

        def end(reason: str) -> None:
            if splice is not None:
                splice.end(CLOSE_TOKEN_ENDED, reason)
            elif passage.request.transport is not None:
                passage.request.transport.abort()

        # Held from before the handshake on: a token that ends meanwhile is not missed.
        with self._gatekeeper.hold(passage.access, end, passage.who):
            await check_again(self._gatekeeper, passage)
            messages = self._rewriter.messages(passage)
            connection = await self._upstream.connect()
            exchange = Exchange(self._upstream, connection, is_pooled=False)
            try:
                response = await self._handshake(passage, exchange, is_raw=messages is None)
                if exchange.status == 101:
                    # A browser that has left meanwhile needs no answer.
                    with contextlib.suppress(ConnectionError):
                        await response.begin_upgrade(passage.request)
                        splice = Splice(passage.request, exchange, self._ping_seconds, messages)
                        passage.use.progress = splice.progress
                        await self._run(passage, splice)
                        response.sent = splice.sent
                return response
            finally:
                await exchange.close()

    async def _run(self, passage: Passage, splice: Splice) -> None:
        """Until one side ends. Raises nothing: after the 101 no other answer can be given."""
        self._open.add(splice)
        WEBSOCKETS_OPEN.inc()
        try:
            with self._metering.watch(passage.access.token_id, splice):
                await splice.run()
        except Exception:
            log.exception("a WebSocket broke off")
        finally:
            self._open.discard(splice)
            WEBSOCKETS_OPEN.dec()
            splice.abort()

    async def _handshake(
        self, passage: Passage, exchange: Exchange, *, is_raw: bool
    ) -> ClientResponse:
        """Ask the upstream; returns the 101 for the browser, or the refusal, passed on already."""
        with cancelled_when_lost(passage.request):
            head = self._head(passage, is_raw=is_raw)
            await exchange.start("GET", head, None, _no_interim, may_upgrade=True)
        if exchange.status == 101:
            pairs = self._accepted(exchange, passage)
        if not passage.access.is_activated:
            await self._gatekeeper.activate(passage.access)
        if exchange.status != 101:
            return await self._http.answer(passage, exchange)
        return ClientResponse(101, b"Switching Protocols", pairs, length=None, has_body=False)

    async def drain(self) -> None:
        """Tell every open WebSocket that this node goes away (1001), and wait shortly."""
        ending = list(self._open)
        for splice in ending:
            splice.end(CLOSE_GOING_AWAY, "The gate is restarting. Connect again.")
        if ending:
            await asyncio.wait([splice.done for splice in ending], timeout=_GOODBYE_SECONDS + 1)

    def _head(self, passage: Passage, *, is_raw: bool) -> bytes:
        request = passage.request
        pairs = request_headers(
            request._message.raw_headers,
            self._policy,
            passage.mount,
            passage.identity,
            passage.unmapper,
            is_bodiless=True,
            token=passage.token,
        )
        if not is_raw:  # compressed messages can't be shown to plugins
            pairs = [pair for pair in pairs if pair[0].lower() != b"sec-websocket-extensions"]
        pairs += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
        return request_head("GET", passage.target, pairs)

    def _accepted(self, exchange: Exchange, passage: Passage) -> Pairs:
        """The 101's headers for the browser, if it is a proper one (RFC 6455, 4.1)."""
        key = passage.request.headers.get("Sec-WebSocket-Key", "").encode()
        proof = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
        said = {name.lower(): value.strip() for name, value in exchange.headers}
        if (
            said.get(b"upgrade", b"").lower() != b"websocket"
            or said.get(b"sec-websocket-accept") != proof
        ):
            log.warning("upstream's 101 is not a WebSocket's")
            raise UpstreamProtocolError
        return self._http.head(passage, exchange).headers


def _no_interim(_status: int, _pairs: Pairs) -> None:
    """1xx answers before a 101 say nothing to a browser's WebSocket."""


class _End(asyncio.Protocol):
    """One side of a splice."""

    def __init__(self, transport: asyncio.Transport, on_lost: Callable[[], None]) -> None:
        self.transport = transport
        self.other: asyncio.Transport | None = None
        self.cursor = FrameCursor()  # of the bytes that are written to this side
        self.relayed = 0
        self.is_lost = False
        self.stalled_at: float | None = None  # when it stopped taking bytes
        self.receive: Callable[[bytes], None] = self._early
        self._on_lost = on_lost
        self._waiting = b""

    def _early(self, data: bytes) -> None:
        self._waiting += data

    def connect(self, receive: Callable[[bytes], None], first: bytes) -> None:
        """Begin: what came before goes first."""
        waiting, self._waiting = first + self._waiting, b""
        self.receive = receive
        if waiting:
            receive(waiting)

    def data_received(self, data: bytes) -> None:
        self.receive(data)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self.stalled_at = asyncio.get_running_loop().time()
        if self.other is not None:
            _quietly(self.other.pause_reading)

    def resume_writing(self) -> None:
        self.stalled_at = None
        if self.other is not None:
            _quietly(self.other.resume_reading)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._on_lost()

    def close(self) -> None:
        """End it: what is buffered is still written, unless it can't be."""
        if self.is_lost:
            return
        if self.transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.transport.abort)
        if not self.transport.is_closing():
            self.transport.close()


class _Gone(asyncio.Transport):
    """In the place of a transport that was closed before the splice began."""

    def write(self, data: object) -> None:
        """Drop it."""

    def get_write_buffer_size(self) -> int:
        return 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """No event comes any more."""

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self) -> None:
        """Nothing is read."""

    def is_closing(self) -> bool:
        return True

    def abort(self) -> None:
        """It is closed."""


def _quietly(change: Callable[[], None]) -> None:
    try:
        change()
    except RuntimeError:  # the transport is closing, or already in that state
        return


class Splice:
    """Two transports joined until one of them ends, or :meth:`end` is called."""

    def __init__(
        self,
        request: web.BaseRequest,
        exchange: Exchange,
        ping_seconds: float,
        messages: Callable[[str, str | bytes], str | bytes | None] | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        handler = cast(GateRequestHandler, request.protocol)
        browser = request.transport
        if browser is None:
            raise ConnectionResetError("the browser is gone already")
        # An upstream that has closed meanwhile may have sent frames before: they are delivered.
        upstream = exchange.connection.detach() or _Gone()
        self._loop = loop
        self.done: asyncio.Future[None] = loop.create_future()
        """Comes when it is over."""
        self._handler = handler
        self._ping_seconds = ping_seconds
        self._ending: tuple[int, str] | None = None
        self._is_unanswered = False
        self._heard = -1  # bytes of the browser's at the last tick
        self._timer: asyncio.TimerHandle | None = None
        self._goodbye: asyncio.TimerHandle | None = None
        self._browser = _End(browser, self._lost)
        self._upstream = _End(upstream, self._upstream_lost)
        self._browser.other, self._upstream.other = upstream, browser
        self._filters: dict[_End, MessageFilter] = {}
        if messages is not None:
            up, down = partial(messages, "to_upstream"), partial(messages, "to_browser")
            self._filters[self._upstream] = MessageFilter(up, masked=True)
            self._filters[self._browser] = MessageFilter(down, masked=False)
        # What either parser has read past the handshake belongs to the WebSocket.
        self._from_browser = handler.take_unread()
        self._from_upstream = bytes(exchange.connection._tail)
        browser.set_protocol(self._browser)
        upstream.set_protocol(self._upstream)

    @property
    def sent(self) -> int:
        """Bytes that went to the browser."""
        return self._browser.relayed

    @property
    def uploaded(self) -> tuple[int, int]:
        """Frames and bytes that the browser sent on."""
        return self._upstream.cursor.frames, self._upstream.relayed

    def progress(self) -> tuple[int, int]:
        """Bytes that came from the browser and went to it."""
        return self._upstream.relayed, self._browser.relayed

    async def run(self) -> None:
        """Relay until one side ends."""
        self._browser.connect(self._way_to(self._upstream), self._from_browser)
        self._upstream.connect(self._way_to(self._browser), self._from_upstream)
        for end in (self._browser, self._upstream):
            _quietly(end.transport.resume_reading)
        if isinstance(self._upstream.transport, _Gone):
            self._upstream_lost()
        self._timer = self._loop.call_later(self._ping_seconds, self._tick)
        await asyncio.shield(self.done)

    def abort(self) -> None:
        """End both sides."""
        for timer in (self._timer, self._goodbye):
            if timer is not None:
                timer.cancel()
        self._lost()
        self._upstream.close()
        self._browser.close()
        # aiohttp's handler no longer hears of its transport: tell it.
        self._handler.connection_lost(None)

    def end(self, code: int, reason: str) -> None:
        """Close both sides properly, at the next frame boundary each."""
        if self._ending is not None or self.done.done():
            return
        self._ending = (code, reason)
        self._browser.receive = partial(self._relay, self._upstream)
        self._upstream.receive = partial(self._relay, self._browser)
        self._goodbye = self._loop.call_later(_GOODBYE_SECONDS, self._lost)
        if self._browser.cursor.is_at_boundary:
            self._say_goodbye(self._browser)
        if self._upstream.cursor.is_at_boundary:
            self._say_goodbye(self._upstream)

    def _say_goodbye(self, end: _End) -> None:
        if self._ending is None:
            return
        code, reason = self._ending
        is_browser = end is self._browser
        if not is_browser:
            code = CLOSE_GOING_AWAY  # what the gate and its user agreed on is not the upstream's
        end.transport.write(close_frame(code, reason if is_browser else "", masked=not is_browser))
        # From here on whatever would be written to this side is dropped.
        source = self._upstream if is_browser else self._browser
        source.receive = self._after_goodbye if source is self._browser else _drop

    def _after_goodbye(self, data: bytes) -> None:
        """The browser answers the close: then nothing is left to wait for."""
        if data[:1] == b"\x88":
            self._lost()

    def _way_to(self, end: _End) -> Callable[[bytes], None]:
        """What passes bytes on to this side: with nothing to look at, as little as there can be."""
        if self._filters:
            return partial(self._relay, end)
        feed, write = end.cursor.feed, end.transport.write

        def pass_on(data: bytes) -> None:
            feed(data)
            end.relayed += len(data)
            write(data)

        return pass_on

    def _relay(self, end: _End, data: bytes) -> None:
        """The same with plugins that read messages, and at the end, which is a frame's end."""
        if self._filters:
            try:
                data = self._filters[end].feed(data)
            except FrameError as error:
                self.end(error.code, error.reason)
                return
        used = end.cursor.feed(data, stop_at_boundary=self._ending is not None)
        end.relayed += used
        end.transport.write(data[:used])
        if self._ending is not None and end.cursor.is_at_boundary:
            self._say_goodbye(end)

    def _tick(self) -> None:
        """Idle ping (RFC 6455, 5.5.2): a browser that does not answer by the next tick is gone."""
        browser = self._browser
        for end in (browser, self._upstream):
            stalled_at = end.stalled_at
            if stalled_at is not None and self._loop.time() - stalled_at >= _STALL_SECONDS:
                end.transport.abort()
                return
        heard = self._upstream.relayed
        if heard != self._heard:
            self._heard = heard
            self._is_unanswered = False
        elif self._is_unanswered:
            browser.transport.abort()
            return
        elif browser.cursor.is_at_boundary and self._ending is None:
            browser.transport.write(PING)
            self._is_unanswered = True
        self._timer = self._loop.call_later(self._ping_seconds, self._tick)

    def _upstream_lost(self) -> None:
        """While the gate ends it, the browser still gets the time to read the close."""
        if self._ending is None:
            self._lost()

    def _lost(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


def _drop(_data: bytes) -> None:
    """What comes after a close is not relayed (RFC 6455, 5.5.1)."""

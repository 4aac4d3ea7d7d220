"""A WebSocket after its handshake: bytes are relayed between two transports until one side ends.

Theory of operation
-------------------

Each side's bytes are written to the other side unchanged. A :class:`FrameCursor` per direction only
follows the frame boundaries, so that the gate can write its own ping or close between two
frames (RFC 6455, 5.4). Only if a plugin reads messages, frames are parsed and built again.

States::

    created --run--> OPEN --end()--> CLOSING --close read, timeout--> DONE
                      |                                                ^
                      +-------------a side is lost---------------------+

- created: both transports already have their protocols; early bytes are kept.
- OPEN: a side that stops reading pauses the other one. A side that reads nothing for
  :data:`STALL_SECONDS` is aborted. After each interval without bytes from the browser it is pinged,
  and aborted if it has sent nothing by the next interval.
- CLOSING: each direction is relayed up to the end of its current frame; then a close frame is
  written, and later bytes are dropped. The browser's close, or GOODBYE_SECONDS, ends this state.
- DONE: ``done`` is resolved, and :meth:`WebSocketRelay.abort` closes both transports. When many
  relays end at the same time, ``done`` is resolved in slices (:class:`SlicedCalls`), because what
  follows it costs more than a frame.

Invariants:

- No frame of the gate is written inside another frame.
- Nothing is relayed to a side after its close frame.
- At most the write buffers of the two transports hold relayed bytes.
- The upstream's slot is freed when its transport is closed, not before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

from aiohttp import web

from zenzefi.http.request_handler import STALL_SECONDS, GateRequestHandler
from zenzefi.proxy.upstream.exchange import UpstreamExchange
from zenzefi.proxy.upstream.transports import unread_of
from zenzefi.proxy.websocket.frames import CLOSE_GOING_AWAY, PING, FrameCursor, close_frame
from zenzefi.proxy.websocket.messages import FrameError, MessageFilter
from zenzefi.sliced_calls import SlicedCalls

_FLUSH_SECONDS = 10.0  # for what is buffered when the other side has ended

GOODBYE_SECONDS = 2.0
"""For a frame to end and a close to be read, before the socket goes."""


class _Side(asyncio.Protocol):
    """One side of a relay."""

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
        """Begin to receive, with the bytes that arrived earlier first."""
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
        if exc is not None:
            for data in unread_of(self.transport):
                self.receive(data)
        self.is_lost = True
        self._on_lost()

    def close(self) -> None:
        """Close it; buffered bytes are still written if the side reads them in time."""
        if self.is_lost:
            return
        if self.transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.transport.abort)
        if not self.transport.is_closing():
            self.transport.close()


class _Gone(asyncio.Transport):
    """A stand-in for a transport that was closed before the relay began."""

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


class WebSocketRelay:
    """Two transports joined until one of them ends, or :meth:`end` is called."""

    def __init__(
        self,
        request: web.BaseRequest,
        exchange: UpstreamExchange,
        ping_seconds: float,
        finishing: SlicedCalls,
        messages: Callable[[str, str | bytes], str | bytes | None] | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        handler = cast(GateRequestHandler, request.protocol)
        browser = request.transport
        if browser is None:
            raise ConnectionResetError("the browser is gone already")
        # An upstream that has closed meanwhile may have sent frames before: they are delivered.
        upgraded = exchange.detach()
        upstream = upgraded.transport or _Gone()
        self._slot = upgraded.slot
        self._loop = loop
        self.done: asyncio.Future[None] = loop.create_future()
        """Resolved when the relay has ended."""
        self._handler = handler
        self._ping_seconds = ping_seconds
        self._finishing = finishing
        self._is_finished = False
        self._ending: tuple[int, str] | None = None
        self._is_ping_pending = False
        self._last_received = -1  # bytes of the browser at the last tick
        self._timer: asyncio.TimerHandle | None = None
        self._goodbye: asyncio.TimerHandle | None = None
        self._browser = _Side(browser, self._browser_lost)
        self._upstream = _Side(upstream, self._upstream_lost)
        self._browser.other, self._upstream.other = upstream, browser
        self._filters: dict[_Side, MessageFilter] = {}
        if messages is not None:
            up, down = partial(messages, "to_upstream"), partial(messages, "to_browser")
            self._filters[self._upstream] = MessageFilter(up, masked=True)
            self._filters[self._browser] = MessageFilter(down, masked=False)
        # Bytes that either parser has read after the handshake belong to the WebSocket.
        self._from_browser = handler.take_unread()
        self._from_upstream = upgraded.tail
        browser.set_protocol(self._browser)
        upstream.set_protocol(self._upstream)

    @property
    def sent(self) -> int:
        """Bytes relayed to the browser."""
        return self._browser.relayed

    @property
    def uploaded(self) -> tuple[int, int]:
        """Frames and bytes relayed to the upstream."""
        return self._upstream.cursor.frames, self._upstream.relayed

    def progress(self) -> tuple[int, int]:
        """Bytes relayed from and to the browser."""
        return self._upstream.relayed, self._browser.relayed

    async def run(self) -> None:
        """Relay until one side ends."""
        self._browser.connect(self._relay_to(self._upstream), self._from_browser)
        self._upstream.connect(self._relay_to(self._browser), self._from_upstream)
        for end in (self._browser, self._upstream):
            _quietly(end.transport.resume_reading)
        if isinstance(self._upstream.transport, _Gone):
            self._upstream_lost()
        self._timer = self._loop.call_later(self._ping_seconds, self._tick)
        await self.done

    def abort(self) -> None:
        """End both sides."""
        for timer in (self._timer, self._goodbye):
            if timer is not None:
                timer.cancel()
        self._is_finished = True
        self._resolve()
        self._upstream.close()
        self._browser.close()
        # aiohttp's handler no longer gets events of its transport.
        self._handler.connection_lost(None)

    def end(self, code: int, reason: str) -> None:
        """Close both sides properly, at the next frame boundary each."""
        if self._ending is not None or self._is_finished:
            return
        self._ending = (code, reason)
        self._browser.receive = partial(self._relay, self._upstream)
        self._upstream.receive = partial(self._relay, self._browser)
        self._goodbye = self._loop.call_later(GOODBYE_SECONDS, self._lost)
        if self._browser.cursor.is_at_boundary:
            self._say_goodbye(self._browser)
        if self._upstream.cursor.is_at_boundary:
            self._say_goodbye(self._upstream)

    def _say_goodbye(self, end: _Side) -> None:
        if self._ending is None:
            return
        code, reason = self._ending
        is_browser = end is self._browser
        if not is_browser:
            code = CLOSE_GOING_AWAY  # the reason concerns the gate and its user alone
        end.transport.write(close_frame(code, reason if is_browser else "", masked=not is_browser))
        # From now on no more bytes are relayed to this side.
        source = self._upstream if is_browser else self._browser
        source.receive = self._after_goodbye if source is self._browser else _drop

    def _after_goodbye(self, data: bytes) -> None:
        """Wait for the browser's close frame."""
        if data[:1] == b"\x88":
            self._lost()

    def _relay_to(self, end: _Side) -> Callable[[bytes], None]:
        """The function that relays bytes to this side: a short one if no plugin reads messages."""
        if end.is_lost:
            return _drop
        if self._filters:
            return partial(self._relay, end)
        feed, write = end.cursor.feed, end.transport.write

        def pass_on(data: bytes) -> None:
            feed(data)
            end.relayed += len(data)
            write(data)

        return pass_on

    def _relay(self, end: _Side, data: bytes) -> None:
        """Relay bytes through the plugins, and up to the end of a frame while closing."""
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
        """Ping an idle browser (RFC 6455, 5.5.2); abort it if it sends nothing until the next."""
        if self._is_finished:
            return
        browser = self._browser
        for end in (browser, self._upstream):
            stalled_at = end.stalled_at
            if stalled_at is not None and self._loop.time() - stalled_at >= STALL_SECONDS:
                end.transport.abort()
                return
        received = self._upstream.relayed
        if received != self._last_received:
            self._last_received = received
            self._is_ping_pending = False
        elif self._is_ping_pending:
            browser.transport.abort()
            return
        elif browser.cursor.is_at_boundary and self._ending is None:
            browser.transport.write(PING)
            self._is_ping_pending = True
        self._timer = self._loop.call_later(self._ping_seconds, self._tick)

    def _browser_lost(self) -> None:
        # uvloop raises RuntimeError for a write to a closed transport; asyncio drops the bytes.
        self._upstream.receive = _drop
        self._lost()

    def _upstream_lost(self) -> None:
        """While the gate closes the WebSocket, the browser still gets time to read the close."""
        self._slot.closed()
        if self._ending is None:
            self._browser.receive = _drop  # as in _browser_lost
            self._lost()
        else:
            self._browser.receive = self._after_goodbye

    def _lost(self) -> None:
        if not self._is_finished:
            self._is_finished = True
            self._finishing.add((self._resolve,))

    def _resolve(self) -> None:
        if not self.done.done():  # a cancelled request has cancelled it
            self.done.set_result(None)


def _drop(_data: bytes) -> None:
    """Drop bytes after a close frame (RFC 6455, 5.5.1)."""

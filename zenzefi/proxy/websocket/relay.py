"""A WebSocket after its handshake: bytes are relayed between two transports until one side ends.

Theory of operation
-------------------

Each side's bytes are written to the other side unchanged. A :class:`FrameCursor` per direction only
follows the frame boundaries, so that the gate can write its own ping or close between two
frames (RFC 6455, 5.4). Only if a plugin reads messages, frames are parsed and built again.

States::

    created --run--> OPEN --end()--> CLOSING --close read, timeout--> DONE
                      | |                                              ^ ^
                      | +-------------a side is lost-------------------+ |
                      +--browser's EOF--> HALF --upstream lost, timeout--+

- created: both transports already have their protocols; early bytes are kept.
- OPEN: a side that stops reading pauses the other one.
- HALF: the browser has ended its side of the connection, and the EOF was passed on; what the
  upstream still sends is relayed, until it sends nothing for FLUSH_SECONDS. Over TLS
  a browser's EOF ends the WebSocket, because the event loops can't send behind it; what the gate's
  system has received from the upstream until then is relayed.
- CLOSING: each direction is relayed up to the end of its current frame; then a close frame is
  written, and later bytes are dropped. The browser's close, or GOODBYE_SECONDS, ends this state.
- DONE: ``done`` is resolved, and :meth:`WebSocketRelay.abort` closes both transports. When many
  relays end at the same time, ``done`` is resolved in slices (:class:`SlicedCalls`), because what
  follows it costs more than a frame. Bytes that were written before are still sent
  (:class:`Side`).

Liveness is judged by progress: a byte from the browser (such as a pong), or a byte that its system
has acknowledged (:func:`unacknowledged`). After an interval without a byte from the browser it is
pinged. If the ping is unanswered, the first interval without any progress ends the WebSocket: a
slow reader gets a ping late, because it waits behind all that was written before. A side that
acknowledges nothing for :data:`STALL_SECONDS` while bytes wait for it is aborted in any case.

Invariants:

- No frame of the gate is written inside another frame.
- Nothing is relayed to a side after its close frame, or after its EOF.
- At most the write buffers of the two transports hold relayed bytes.
- A transport that is lost is never called again: uvloop's would raise RuntimeError.
- The upstream's slot is freed when its transport is closed, not before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

from aiohttp import web

from zenzefi.http.request_handler import GateRequestHandler
from zenzefi.proxy.upstream.upgrade import Upgrade
from zenzefi.proxy.websocket.frames import (
    CLOSE_GOING_AWAY,
    PING,
    SHORT_MASKED,
    SHORT_UNMASKED,
    close_frame,
)
from zenzefi.proxy.websocket.messages import BINARY, TEXT, FrameError, MessageFilter, data_frame
from zenzefi.proxy.websocket.side import FLUSH_SECONDS, GoneTransport, Side, drop
from zenzefi.sliced_calls import SlicedCalls

if TYPE_CHECKING:
    from zenzefi.proxy.rewriter import SocketPlugins
    from zenzefi.rewriting.plugins.messages import Direction

GOODBYE_SECONDS = 2.0
"""For a frame to end and a close to be read, before the socket goes."""


class WebSocketRelay:
    """Two transports joined until one of them ends, or :meth:`end` is called."""

    def __init__(
        self,
        request: web.BaseRequest,
        upgrade: Upgrade,
        ping_seconds: float,
        finishing: SlicedCalls,
        plugins: SocketPlugins | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        handler = cast(GateRequestHandler, request.protocol)
        browser = request.transport
        if browser is None:
            raise ConnectionResetError("the browser is gone already")
        # An upstream that has closed meanwhile may have sent frames before: they are delivered.
        upgraded = upgrade.detach()
        upstream = upgraded.transport or GoneTransport()
        self._slot = upgraded.slot
        self._loop = loop
        self.done: asyncio.Future[None] = loop.create_future()
        """Resolved when the relay has ended."""
        self.is_ended_by_upstream = False
        """Whether the upstream was lost first."""
        self._handler = handler
        self._ping_seconds = ping_seconds
        self._finishing = finishing
        self._is_finished = False
        self._ending: tuple[int, str] | None = None
        self._is_ping_pending = False
        self._last_received = -1  # bytes of the browser at the last tick
        self._timer: asyncio.TimerHandle | None = None
        self._goodbye: asyncio.TimerHandle | None = None
        self._half: asyncio.TimerHandle | None = None
        self._browser = Side(browser, self._browser_ended, self._browser_lost)
        self._upstream = Side(upstream, lambda: False, self._upstream_lost)
        self._browser.other, self._upstream.other = self._upstream, self._browser
        self._filters: dict[Side, MessageFilter] = {}
        self._plugins = plugins
        if plugins is not None:
            up = partial(plugins.message, "to_upstream")
            down = partial(plugins.message, "to_browser")
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
        if self._upstream.is_lost:
            self._upstream_lost()
        self._timer = self._loop.call_later(self._ping_seconds, self._tick)
        if self._plugins is not None:
            self._plugins.opened(self)
        await self.done

    def abort(self) -> None:
        """End both sides."""
        for timer in (self._timer, self._goodbye, self._half):
            if timer is not None:
                timer.cancel()
        self._is_finished = True
        if self._plugins is not None:
            self._plugins.closed(self._close_code)
        self._resolve()
        if self._ending is not None and self._upstream.cursor.is_at_boundary:
            self._write_upstream_close()
        self._upstream.close()
        self._browser.close()
        # aiohttp's handler no longer gets events of its transport.
        self._handler.connection_lost(None)

    @property
    def _close_code(self) -> int | None:
        codes = [one.close_code for one in self._filters.values() if one.close_code is not None]
        return self._ending[0] if self._ending is not None else codes[0] if codes else None

    def inject(self, direction: Direction, data: str | bytes) -> bool:
        """Send a message of a plugin's own; false if that side takes no more at present."""
        is_up = direction == "to_upstream"
        side = self._upstream if is_up else self._browser
        if side.is_lost or side.is_ended or side.is_full:
            return False
        if self._ending is not None or self._is_finished or not side.cursor.is_at_boundary:
            return False
        if any(one.close_code is not None for one in self._filters.values()):
            return False
        is_text = isinstance(data, str)
        payload = data.encode() if isinstance(data, str) else data
        frame = data_frame(TEXT if is_text else BINARY, payload, masked=is_up)
        side.cursor.feed(frame)
        side.relayed += len(frame)
        side.transport.write(frame)
        return True

    def end(self, code: int, reason: str) -> None:
        """Close both sides properly, at the next frame boundary each."""
        if self._ending is not None or self._is_finished:
            return
        self._ending = (code, reason)
        self._goodbye = self._loop.call_later(GOODBYE_SECONDS, self._lost)
        if self._browser.cursor.is_at_boundary:
            self._close_browser()
        else:
            self._upstream.receive_by(partial(self._relay, self._browser))
        if self._upstream.cursor.is_at_boundary:
            self._close_upstream(b"")
        else:
            self._browser.receive_by(partial(self._relay, self._upstream))

    def _close_browser(self) -> None:
        """Send the close frame to the browser. From now on nothing more is relayed to it."""
        if self._ending is not None and not self._browser.is_ended:
            code, reason = self._ending
            self._browser.transport.write(close_frame(code, reason, masked=False))
        self._upstream.receive_by(drop)
        if self._browser.has_ended:
            self._lost()

    def _close_upstream(self, rest: bytes) -> None:
        """Relay nothing more to the upstream; ``rest``: bytes of the browser that follow.

        Its close frame is sent when all browsers have got theirs: it decides about nothing.
        """
        self._finishing.add((self._write_upstream_close,))
        self._browser.receive_by(self._after_goodbye)
        self._after_goodbye(rest)

    def _write_upstream_close(self) -> None:
        """Send the close frame to the upstream, once; the reason is for the user alone."""
        end = self._upstream
        if not (end.is_ended or end.is_lost or end.transport.is_closing()):
            end.is_ended = True
            end.transport.write(close_frame(CLOSE_GOING_AWAY, "", masked=True))

    def _after_goodbye(self, data: bytes) -> None:
        """Wait for the browser's close frame."""
        end = self._upstream
        try:
            data = self._filters[end].feed(data) if self._filters else data
        except FrameError:  # the end of this frame is not known
            self._browser.receive_by(drop)
            return
        if end.cursor.meets_close(data):
            self._lost()

    def _relay_to(self, end: Side) -> Callable[[bytes], None]:
        """The function that relays bytes to this side: a short one if no plugin reads messages."""
        if end.is_lost:
            return drop
        if self._filters:
            return partial(self._relay, end)
        cursor, write = end.cursor, end.transport.write
        is_masked = end is self._upstream
        longest, difference = (131, SHORT_MASKED) if is_masked else (127, SHORT_UNMASKED)

        def pass_on(data: bytes) -> None:
            size = len(data)
            # Most often exactly one short frame.
            if 1 < size <= longest and data[1] == size + difference and cursor.is_at_boundary:
                cursor.frames += 1
            else:
                cursor.feed(data)
            end.relayed += size
            write(data)

        return pass_on

    def _relay(self, end: Side, data: bytes) -> None:
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
            if end is self._browser:
                self._close_browser()
            else:
                self._close_upstream(data[used:])

    def _tick(self) -> None:
        """Ping an idle browser (RFC 6455, 5.5.2); abort it if nothing at all has happened since."""
        if self._is_finished:
            return
        browser, upstream, now = self._browser, self._upstream, self._loop.time()
        is_watched = self._is_ping_pending or browser.is_full
        is_alive = is_watched and browser.has_progressed(now)
        for side in (browser, upstream):
            if side.is_full:
                side.has_progressed(now)
                if side.is_stalled(now):
                    side.transport.abort()
                    return
        received = upstream.relayed
        if received != self._last_received:
            self._last_received = received
            self._is_ping_pending = False
        elif self._is_ping_pending:
            if not is_alive:
                browser.transport.abort()
                return
        elif browser.cursor.is_at_boundary and self._ending is None and not browser.has_ended:
            browser.has_progressed(now)
            browser.transport.write(PING)
            self._is_ping_pending = True
        self._timer = self._loop.call_later(self._ping_seconds, self._tick)

    def _browser_ended(self) -> bool:
        """The browser sends nothing more; returns whether the upstream may still send."""
        if self._ending is not None or self._is_finished or not self._upstream.end_writing():
            return False
        self._last_received = -1
        self._await_upstream(self._browser.relayed)
        return True

    def _await_upstream(self, relayed: int) -> None:
        """Give the upstream time to send more and to end; ``relayed``: bytes to the browser."""

        def check() -> None:
            if self._browser.relayed == relayed and not self._browser.is_full:
                self._lost()
            else:
                self._await_upstream(self._browser.relayed)

        self._half = self._loop.call_later(FLUSH_SECONDS, check)

    def _browser_lost(self) -> None:
        # uvloop raises RuntimeError for a write to a closed transport; asyncio drops the bytes.
        self._upstream.receive_by(drop)
        self._lost()

    def _upstream_lost(self) -> None:
        """While the gate closes the WebSocket, the browser still gets time to read the close."""
        self._slot.closed()
        if self._ending is None:
            self.is_ended_by_upstream = not self._is_finished
            self._browser.receive_by(drop)  # as in _browser_lost
            self._lost()
        else:
            self._browser.receive_by(self._after_goodbye)

    def _lost(self) -> None:
        if not self._is_finished:
            self._is_finished = True
            self._finishing.add((self._resolve,))

    def _resolve(self) -> None:
        if not self.done.done():  # a cancelled request has cancelled it
            self.done.set_result(None)

"""One side of a relayed WebSocket: its transport, its progress and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from zenzefi.http.request_handler import STALL_SECONDS
from zenzefi.proxy.upstream.transports import unacknowledged, unread_of
from zenzefi.proxy.websocket.frames import FrameCursor

FLUSH_SECONDS = 10.0
"""Time for buffered bytes after the end of a relay, counted from the last progress."""


class GoneTransport(asyncio.Transport):
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

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return True

    def abort(self) -> None:
        """It is closed."""


class Side(asyncio.Protocol):
    """One side of a relay.

    ``on_eof`` is called when the peer has ended its side of the connection; it returns whether the
    other direction stays open. ``on_lost`` is called when the connection is closed.
    """

    __slots__ = (
        "_flush_timer",
        "_on_eof",
        "_on_lost",
        "_taken",
        "_waiting",
        "cursor",
        "data_received",
        "has_ended",
        "is_ended",
        "is_full",
        "is_lost",
        "other",
        "progress_at",
        "relayed",
        "transport",
    )

    data_received: Callable[[bytes], None]  # type: ignore[assignment]  # not a method
    """Receives its bytes. An attribute, so that a frame costs one call; set by
    :meth:`receive_by`."""

    def __init__(
        self, transport: asyncio.Transport, on_eof: Callable[[], bool], on_lost: Callable[[], None]
    ) -> None:
        self.transport = transport
        self.other: Side | None = None
        self.cursor = FrameCursor()  # of the bytes that are written to this side
        self.relayed = 0
        self.is_lost = isinstance(transport, GoneTransport)
        self.has_ended = False  # the peer sends nothing more
        self.is_ended = False  # EOF or the gate's close frame was sent to the peer
        self.is_full = False  # it takes no more bytes for now
        self.progress_at = 0.0
        self.data_received = self._early
        self._taken = 0  # bytes that it has acknowledged
        self._on_eof = on_eof
        self._on_lost = on_lost
        self._waiting = b""
        self._flush_timer: asyncio.TimerHandle | None = None

    def _early(self, data: bytes) -> None:
        self._waiting += data

    def connect(self, receive: Callable[[bytes], None], first: bytes) -> None:
        """Begin to receive, with the bytes that arrived earlier first."""
        waiting, self._waiting = first + self._waiting, b""
        self.receive_by(receive)
        self.progress_at = asyncio.get_running_loop().time()
        if waiting:
            receive(waiting)
        if not self.is_lost:
            quietly(self.transport.resume_reading)

    def receive_by(self, receive: Callable[[bytes], None]) -> None:
        """Let ``receive`` receive all further bytes."""
        self.data_received = receive
        if not self.is_lost:
            self.transport.set_protocol(self)  # uvloop's transport keeps the bound method

    def eof_received(self) -> bool:
        """The peer has ended its side: whether the connection stays open to write."""
        if not self.has_ended:
            if self.transport.get_extra_info("ssl_object") is not None:
                self._take_last()
            else:
                self.has_ended = self._on_eof()
        return self.has_ended

    def _take_last(self) -> None:
        """Relay what the other side has sent up to now.

        The event loops close a TLS connection as soon as its peer has ended its side. Only bytes
        that were written before are still sent.
        """
        other = self.other
        if other is not None and not other.is_lost:
            for data in unread_of(other.transport):
                other.data_received(data)

    def end_writing(self) -> bool:
        """Send EOF to the peer; false if that is not possible."""
        if self.is_lost or self.transport.is_closing() or not self.transport.can_write_eof():
            return False
        self.is_ended = True
        self.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        self.is_full = True
        self.progress_at = asyncio.get_running_loop().time()
        if self.other is not None and not self.other.has_ended and not self.other.is_lost:
            quietly(self.other.transport.pause_reading)

    def resume_writing(self) -> None:
        self.is_full = False
        if self.other is not None and not self.other.has_ended and not self.other.is_lost:
            quietly(self.other.transport.resume_reading)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            for data in unread_of(self.transport):
                self.data_received(data)
        self.is_lost = True
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        self._on_lost()
        # Nothing here refers to the relay or the transport any more: both are freed at once, not
        # by a garbage collection (zenzefi.runtime.memory).
        self.transport, self.other = _GONE, None
        self.data_received, self._on_eof, self._on_lost = drop, _no, _nothing

    def has_progressed(self, now: float) -> bool:
        """Whether the peer has acknowledged bytes since the last call; ``now``: the loop's time."""
        if self.is_lost:
            return False
        unsent = self.transport.get_write_buffer_size() + unacknowledged(self.transport)
        taken = self.relayed - unsent
        if taken <= self._taken:
            return False
        self._taken = taken
        self.progress_at = now
        return True

    def is_stalled(self, now: float) -> bool:
        """Whether bytes wait for it, and its last progress was too long ago."""
        return self.is_full and now - self.progress_at >= STALL_SECONDS

    def close(self) -> None:
        """Close it; buffered bytes are still written while the peer reads them."""
        if self.is_lost:
            return
        if not self.transport.is_closing():
            self.transport.close()
        if self.transport.get_write_buffer_size() and self._flush_timer is None:
            loop = asyncio.get_running_loop()
            self.has_progressed(loop.time())
            self._flush_timer = loop.call_later(
                FLUSH_SECONDS, self._flush, loop.time() + STALL_SECONDS
            )

    def _flush(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self.has_progressed(now) and now < deadline:
            self._flush_timer = loop.call_later(FLUSH_SECONDS, self._flush, deadline)
        else:
            self.transport.abort()


_GONE = GoneTransport()


def drop(_data: bytes) -> None:
    """Drop received bytes: after a close frame (RFC 6455, 5.5.1), or without another side."""


def _no() -> bool:
    return False


def _nothing() -> None:
    """The relay has ended."""


def quietly(change: Callable[[], None]) -> None:
    """Pause or resume reading, unless the transport is closing or already in that state."""
    try:
        change()
    except RuntimeError:
        return

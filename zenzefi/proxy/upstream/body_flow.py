"""The flow of a response's body through a connection: pausing, and the splice of a large body."""

from __future__ import annotations

import abc
import asyncio

from zenzefi.errors import GateError
from zenzefi.proxy.errors import UpstreamUnreachable
from zenzefi.proxy.upstream.framing import BodyFraming, Framing
from zenzefi.proxy.upstream.ownership import OwnableConnection
from zenzefi.proxy.upstream.sinks import BodySink
from zenzefi.proxy.upstream.slots import Slot
from zenzefi.proxy.upstream.splice import LARGE, Splice, is_possible

BUFFER = 256 * 1024
"""Bytes that may wait for a slower receiver before reading from the upstream pauses."""


class FlowControlledConnection(OwnableConnection):
    """A connection whose reading follows the receiver of the body."""

    __slots__ = (
        "_body",
        "_is_paused",
        "_is_reusable",
        "_is_waiting",
        "_sink",
        "_splice",
        "silent_sweeps",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, slot: Slot) -> None:
        super().__init__(slot)
        self._sink: BodySink | None = None  # from the end of the head until that of the body
        self._body = BodyFraming()
        self._is_reusable = False
        self._is_paused = False
        self._splice: Splice | None = None
        self._is_waiting = False  # the splice waits for the client
        self.silent_sweeps = 0
        """Sweeps since the last progress."""

    @abc.abstractmethod
    def body_done(self) -> None:
        """The body is complete."""

    @abc.abstractmethod
    def fail(self, error: GateError) -> None:
        """End the exchange with an error."""

    @property
    def is_paused(self) -> bool:
        """Whether it waits for a slower receiver."""
        return self._is_paused if self._splice is None else self._is_waiting

    def may_splice(self, sink: asyncio.Transport) -> bool:
        """Whether the rest of the body is large enough and both sockets are without TLS."""
        return (
            self._body.kind is Framing.SIZED
            and self._body.remaining >= LARGE
            and is_possible(self.transport, sink)
        )

    def splice_to(self, sink: asyncio.Transport) -> None:
        """Start the splice. Reading is paused, and the write buffer of ``sink`` is empty."""
        try:
            self._splice = Splice(self, self.transport, sink, self._body.remaining)
        except OSError:  # no file descriptors are available: copy the body
            self.resume()

    def moved(self, count: int, *, is_waiting: bool) -> None:
        """The splice has written bytes to the client."""
        if count:
            self.silent_sweeps = 0
        self._body.remaining -= count
        self._is_waiting = is_waiting
        if self._sink is not None:
            self._sink.moved(count)

    def spliced(self) -> None:
        """The splice has written the whole body."""
        self._body.kind = Framing.NONE
        # Bytes after the body were not checked, so the connection must not be reused.
        self._is_reusable = False
        self.body_done()

    def source_broke(self) -> None:
        """The upstream closed the connection before the end of the body."""
        self.fail(UpstreamUnreachable())

    def sink_broke(self) -> None:
        """The client has disconnected. Its own connection reports that."""
        self._end_splice()

    def _end_splice(self) -> None:
        splice, self._splice = self._splice, None
        if splice is not None:
            splice.close()

    def pause(self) -> None:
        """Stop reading, because the receiver is slower."""
        if not self._is_paused and not self.transport.is_closing():
            self._is_paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Continue reading."""
        if self._is_paused and self._splice is None:
            self._is_paused = False
            self.silent_sweeps = 0
            if not self.transport.is_closing():
                self.transport.resume_reading()

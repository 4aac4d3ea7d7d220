"""A response that can't be passed on yet, and the beginning of its body.

A response is parked while something has to be awaited: the token's validation, its activation, or
the search of its body. The connection's reading pauses when ``BUFFER`` bytes are held. No byte is
lost: the receiver that is chosen in the end gets the held bytes, and then the error or the end of
the body, if they came meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from zenzefi.errors import GateError
from zenzefi.proxy.browser.body_source import BodySource
from zenzefi.proxy.upstream.body_flow import BUFFER
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.sinks import BodySink, ResponseStart, deliver

_MAX_SKIPPED = 1024 * 1024  # bytes of an unwanted body that are read to keep its connection


class ParkingClient(Protocol):
    """The client's connection, as a parked response needs it."""

    def receive_from(self, source: BodySource | None) -> None:
        """Pause and end ``source`` with the client from now on."""

    def receive(
        self,
        connection: UpstreamConnection | None,
        response: ResponseStart,
        *,
        was_searched: bool,
    ) -> BodySink:
        """Choose the receiver of the body. Raises :class:`GateError`."""

    def failed(self, error: GateError) -> None:
        """No response follows, and nothing was sent."""


class ParkedResponse:
    """One response without a receiver: a ``BodySink`` and a ``BodySource``."""

    __slots__ = (
        "_client",
        "_connection",
        "_error",
        "_is_done",
        "_pieces",
        "_response",
        "_size",
        "was_searched",
    )

    def __init__(
        self,
        client: ParkingClient,
        connection: UpstreamConnection | None,
        response: ResponseStart,
        *,
        was_searched: bool = False,
    ) -> None:
        """``connection``: ``None`` if it was released; else it delivers to this object now.

        ``was_searched``: a search has shown that the body must be rewritten.
        """
        self._client = client
        self._response = response
        self.was_searched = was_searched
        self._pieces = [response.first] if response.first else []
        self._size = len(response.first)
        self._is_done = response.is_done
        self._error: GateError | None = None
        self._connection = connection
        if connection is not None:
            deliver(connection, response, self)
            if response.is_done:
                self._connection = None
        client.receive_from(self)

    # --- from the upstream

    def piece(self, data: bytes) -> None:
        """Hold the next bytes of the body."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > BUFFER and self._connection is not None:
            self._connection.pause()

    def moved(self, count: int) -> None:
        """Not called: a parked response is never spliced."""

    def end(self) -> None:
        """The body is complete, and the connection was released."""
        self._connection = None
        self._is_done = True

    def broken(self, error: GateError) -> None:
        """The body is truncated or malformed."""
        self._connection = None
        self._error = error

    # --- from the client

    def pause(self) -> None:
        """Nothing: no bytes go to the client yet."""

    def resume(self) -> None:
        """Nothing, as for :meth:`pause`."""

    def abandon(self) -> None:
        """The response is not needed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()

    def may_splice(self, sink: asyncio.Transport) -> bool:
        """Never: a parked response writes nothing."""
        return False

    def splice_to(self, sink: asyncio.Transport) -> None:
        """Not called."""

    # --- the end of the wait

    async def skip(self) -> None:
        """Close it unread, but keep a connection that can't be replaced.

        On a connection that belongs to one client up to 1 MiB of the body is read first.
        """
        connection = self._connection
        if connection is None or connection.owner is None:
            self.abandon()
            return
        discarded = DiscardedBody(connection)
        connection.deliver_to(discarded)
        connection.resume()
        try:
            await discarded.ended
        except asyncio.CancelledError:
            self.abandon()
            raise
        self._connection = None

    def deliver(self) -> None:
        """Choose the receiver of the response, and give it what was held."""
        client = self._client
        connection, self._connection = self._connection, None
        response = self._response._replace(first=b"".join(self._pieces), is_done=self._is_done)
        self._pieces.clear()
        self._response = self._response._replace(first=b"")
        if self._error is not None and not response.first:
            client.failed(self._error)  # nothing was sent: another response can be given
            return
        client.receive_from(connection)
        if connection is not None:
            connection.resume()
        try:
            sink = client.receive(connection, response, was_searched=self.was_searched)
        except GateError as error:
            if connection is not None:
                connection.abandon()
            client.failed(error)
            return
        if self._error is not None:
            sink.broken(self._error)


class DiscardedBody:
    """Drops a body, so that its connection can be used again; a ``BodySink``."""

    def __init__(self, connection: UpstreamConnection) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._left = _MAX_SKIPPED

    def piece(self, data: bytes) -> None:
        """Drop bytes of the body; the connection is closed after too many."""
        self._left -= len(data)
        if self._left < 0:
            self._connection.abandon()
            self.end()

    def moved(self, count: int) -> None:
        """Not called: such a body is never spliced."""

    def end(self) -> None:
        """The body is complete."""
        if not self.ended.done():
            self.ended.set_result(None)

    def broken(self, error: GateError) -> None:
        """The body is truncated or malformed, and its connection closed."""
        self.end()

"""A response that can't be passed on yet, and the beginning of its body.

A response is parked while something has to be awaited (the token's validation, its activation), and
:mod:`zenzefi.proxy.fast_path.held_response` parks a body while it is searched. The connection's
reading pauses when ``BUFFER`` bytes are held. No byte is lost: the receiver that is chosen in the
end gets the held bytes, and then the error or the end of the body, if they came meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from zenzefi.errors import GateError
from zenzefi.proxy.upstream.body_flow import BUFFER
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.sinks import ResponseStart

if TYPE_CHECKING:
    from zenzefi.proxy.fast_path.receiver import FastPathClient


class ParkedResponse:
    """One response without a receiver: a ``BodySink`` and a ``BodySource``."""

    __slots__ = (
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
        connection: UpstreamConnection | None,
        response: ResponseStart,
        *,
        was_searched: bool = False,
    ) -> None:
        """``connection``: ``None`` if it was released; else it delivers to this object now.

        ``was_searched``: a search has shown that the body must be rewritten.
        """
        self._response = response
        self.was_searched = was_searched
        self._pieces = [response.first] if response.first else []
        self._size = len(response.first)
        self._is_done = response.is_done
        self._error: GateError | None = None
        self._connection = connection
        if connection is not None:
            if response.is_done:
                self._connection = None
                connection.release()
            else:
                connection.deliver_to(self)

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

    def deliver(self, client: FastPathClient) -> None:
        """Choose the receiver of the response, and give it what was held."""
        connection, self._connection = self._connection, None
        response = self._response._replace(first=b"".join(self._pieces), is_done=self._is_done)
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

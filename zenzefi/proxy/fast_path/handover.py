"""Responses that the fast path has started and the standard path completes."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from zenzefi.errors import GateError
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.upstream.exchange import BodyBroken
from zenzefi.proxy.upstream.limits import Refused
from zenzefi.proxy.upstream.pool import is_event_stream, refusal

if TYPE_CHECKING:
    from zenzefi.proxy.fast_path.connection import FastPathConnection

BUFFER = 256 * 1024
"""Bytes that may wait for a slower reader before reading from the upstream pauses."""


class HandedOver:
    """An ``UpstreamResponse`` of the standard path, filled by a connection of the fast path.

    The connection writes (the methods of ``BodySink``), the standard path reads. Until the end of
    the body the response holds the connection; :meth:`drop` closes it.
    """

    def __init__(
        self,
        connection: FastPathConnection,
        status: int,
        reason: bytes,
        headers: Pairs,
        length: int,
        first: bytes,
        *,
        has_body: bool,
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.length = length if length >= 0 else None
        self.has_body = has_body
        self.may_pass_unchanged = True
        self.interims: list[tuple[int, Pairs]] = []
        """Status and headers of the 1xx responses before it, not passed on yet."""
        self._connection: FastPathConnection | None = connection
        self._pieces: deque[bytes] = deque([first] if first else ())
        self._waiting = len(first)
        self._error: GateError | None = None
        self._waiter: asyncio.Future[None] | None = None

    closes_client = False

    def count_as_long_lived(self) -> None:
        """Charge an event stream to the token's long-lived connections.

        Raises :class:`GateError` if their limit is reached.
        """
        connection = self._connection
        if connection is not None and is_event_stream(self.headers):
            try:
                connection.slot.make_long_lived()
            except Refused as refused:
                self.drop()
                raise refusal(refused.reason) from None

    # --- the connection's side

    def piece(self, data: bytes) -> None:
        """Receive the next bytes of the body."""
        self._pieces.append(data)
        self._waiting += len(data)
        if self._waiting > BUFFER and self._connection is not None:
            self._connection.pause()
        self._wake()

    def moved(self, count: int) -> None:
        """Not called: a response that is handed over is never spliced."""

    def end(self) -> None:
        """The body is complete, and the connection was returned to the pool."""
        self._connection = None
        self._wake()

    def broken(self, error: GateError) -> None:
        """The body is truncated or malformed."""
        self._connection = None
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- the standard path's side

    def read_ready(self) -> bytes:
        """Return the bytes of the body received so far, without waiting."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        if self._connection is not None:
            self._connection.resume()
        return data

    @property
    def is_complete(self) -> bool:
        """Whether the whole body was received and read."""
        return self._connection is None and self._error is None and not self._pieces

    @property
    def failure(self) -> GateError | None:
        """The error that ended the body, once all received bytes were read."""
        return None if self._pieces else self._error

    async def read(self) -> bytes:
        """Return the next piece, ``b""`` at the end; raises :class:`BodyBroken` if it fails."""
        while not self._pieces:
            if self._error is not None:
                raise BodyBroken(self._error)
            if self._connection is None:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = self._pieces.popleft()
        self._waiting -= len(data)
        if self._connection is not None and self._waiting <= BUFFER // 2:
            self._connection.resume()
        return data

    def drop(self) -> None:
        """Close the connection if the body is incomplete."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()

    async def close(self) -> None:
        """Close the connection if the body is incomplete."""
        self.drop()


class PendingHandover:
    """The result of the fast path for one request, until the standard path takes it."""

    __slots__ = ("_result", "message")

    def __init__(self, message: object, result: HandedOver | GateError) -> None:
        self.message = message
        """The parsed request that it belongs to."""
        self._result = result

    def response(self) -> HandedOver:
        """The response; raises the error if the exchange failed."""
        if isinstance(self._result, GateError):
            raise self._result
        return self._result

    def drop(self) -> None:
        """Close the connection of a response that is not needed."""
        if isinstance(self._result, HandedOver):
            self._result.drop()

"""An answer that the fast path began and the standard path finishes."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from zenzefi.errors import GateError
from zenzefi.proxy.headers.rules import Pairs
from zenzefi.proxy.upstream.exchange import BodyBroken
from zenzefi.proxy.upstream.limits import Refused
from zenzefi.proxy.upstream.pool import is_event_stream, refusal

if TYPE_CHECKING:
    from zenzefi.proxy.fast_path.connection import FastPathConnection

BUFFER = 256 * 1024
"""Bytes that may wait for a slower reader before the upstream is no longer read."""


class HandedOver:
    """The standard path's ``UpstreamResponse``, fed by the fast path's connection."""

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
        self.interims: list[tuple[int, Pairs]] = []
        """1xx answers that came before and have not been passed on."""
        self._connection: FastPathConnection | None = connection
        self._pieces: deque[bytes] = deque([first] if first else ())
        self._waiting = len(first)
        self._error: GateError | None = None
        self._waiter: asyncio.Future[None] | None = None

    closes_client = False

    def count_as_long_lived(self) -> None:
        """Count an event stream as long-lived. Raises :class:`GateError` if there is no room."""
        connection = self._connection
        if connection is not None and is_event_stream(self.headers):
            try:
                connection.slot.make_long_lived()
            except Refused as refused:
                self.drop()
                raise refusal(refused.reason) from None

    # --- the connection's side

    def piece(self, data: bytes) -> None:
        """The next bytes of the body."""
        self._pieces.append(data)
        self._waiting += len(data)
        if self._waiting > BUFFER and self._connection is not None:
            self._connection.pause()
        self._wake()

    def moved(self, count: int) -> None:
        """Never: what is handed over comes piece by piece."""

    def end(self) -> None:
        """The body is complete; the connection is back in the pool."""
        self._connection = None
        self._wake()

    def broken(self, error: GateError) -> None:
        """The body broke off."""
        self._connection = None
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- the standard path's side

    def read_ready(self) -> bytes:
        """What has already arrived of the body, without waiting."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        if self._connection is not None:
            self._connection.resume()
        return data

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the body is still to come or to be read."""
        return self._connection is None and self._error is None and not self._pieces

    @property
    def failure(self) -> GateError | None:
        """What has broken the body already, if nothing of it is left to be read."""
        return None if self._pieces else self._error

    async def read(self) -> bytes:
        """The next piece of the body, ``b""`` at its end; raises :class:`BodyBroken`."""
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
        """Nobody wants it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()

    async def close(self) -> None:
        """Break it off, unless it is complete and the connection is back in the pool already."""
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

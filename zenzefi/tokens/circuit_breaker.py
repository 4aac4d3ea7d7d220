"""A circuit breaker for database queries that a request waits for.

A database that is stopped refuses connections at once. A database that hangs (a lost machine, a
failover in progress) does not respond at all. A query fails after :data:`TIMEOUT` seconds. After a
failure the circuit is open for :data:`OPEN_FOR` seconds: queries fail immediately, so that requests
which Redis or the cache can serve are not delayed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, TypeVar

from zenzefi import deadline
from zenzefi.db.errors import DatabaseUnavailable

TIMEOUT = 3.0
"""Seconds after which a query has failed."""
OPEN_FOR = 1.0
"""Seconds after a failure during which no query is sent."""
_MAX_HANGING = 4  # queries; each holds a connection until the driver gives up


_T = TypeVar("_T")


class CircuitBreaker:
    """Runs queries with a timeout, and pauses them after a failure."""

    def __init__(self) -> None:
        self._open_until = 0.0
        self._hanging: set[asyncio.Task[Any]] = set()

    async def call(self, query: Callable[[], Coroutine[Any, Any, _T]], name: str) -> _T:
        """Run ``query`` in a task of this name and return its result.

        Raises ``DatabaseUnavailable`` after the timeout and while the circuit is open, and the
        errors of the query.
        """
        if monotonic() < self._open_until or len(self._hanging) >= _MAX_HANGING:
            raise DatabaseUnavailable
        task = asyncio.create_task(query(), name=name)
        try:
            await deadline.wait([task], TIMEOUT)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not task.done():
            self._hanging.add(task)
            task.add_done_callback(self._on_late_result)
            self._open_until = monotonic() + OPEN_FOR
            raise DatabaseUnavailable
        try:
            return task.result()
        except DatabaseUnavailable:
            self._open_until = monotonic() + OPEN_FOR
            raise

    def _on_late_result(self, task: asyncio.Task[Any]) -> None:
        self._hanging.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, or asyncio would log it

    async def close(self) -> None:
        """Cancel the hanging queries."""
        for task in self._hanging:
            task.cancel()
        await asyncio.gather(*self._hanging, return_exceptions=True)

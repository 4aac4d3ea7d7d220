"""Many short calls in the event loop, spread over its steps so that none holds it for long."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable

log = logging.getLogger(__name__)

SLICE = 64
"""Calls in one step of the loop: with 100 µs each, a step takes 6 ms."""


class SlicedCalls:
    """Runs calls in their order, at most ``size`` of them in one step of the event loop.

    The first call after a pause runs at once, inside :meth:`add`. Between two slices the loop
    serves all others: it polls its sockets and writes buffered bytes. A call that raises an
    exception is logged and does not prevent the others.
    """

    __slots__ = ("_is_scheduled", "_must_wait", "_size", "_waiting")

    def __init__(self, size: int = SLICE, must_wait: Callable[[], bool] = lambda: False) -> None:
        """``must_wait``: whether more urgent calls wait elsewhere; they run first."""
        self._size = size
        self._must_wait = must_wait
        self._waiting: deque[Callable[[], object]] = deque()
        self._is_scheduled = False

    def __len__(self) -> int:
        """Calls that wait for a later step."""
        return len(self._waiting)

    def add(self, calls: Iterable[Callable[[], object]]) -> None:
        """Run the first of the calls now if no slice ran in this step, the others later."""
        self._waiting.extend(calls)
        if not self._is_scheduled:
            self._run()

    def clear(self) -> None:
        """Forget the calls that wait."""
        self._waiting.clear()

    def _run(self) -> None:
        waiting = self._waiting
        self._is_scheduled = bool(waiting)
        if not waiting:
            return
        # Scheduled before the calls: one of them may add more, which then wait for the next step.
        asyncio.get_running_loop().call_soon(self._run)
        if self._must_wait():
            return
        for _ in range(min(self._size, len(waiting))):
            try:
                waiting.popleft()()
            except Exception:
                log.exception("failed to run a deferred call")

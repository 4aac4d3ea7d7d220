"""Deadlines that measure the other side, not this process's scheduler.

``asyncio.timeout`` compares clocks. When the event loop was held up (a busy machine, a suspended
virtual machine, a slow callback), its timers fire before the responses that arrived meanwhile are
read, and a healthy database looks like a dead one. A :class:`Deadline` counts its seconds in short
steps while the loop runs: a pause of the loop costs one step at most, and the step after a pause is
not counted, so that what arrived meanwhile is read first.

A server that really hangs is given up after the same number of seconds: nothing delays the steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any

STEP = 0.1
"""Seconds that the loop has to run between two looks at a deadline."""
_LATE_STEPS = 50  # that are not counted; on a loop that is always late, the others are


class Deadline:
    """``async with Deadline(seconds):`` raises ``TimeoutError`` when the block took longer.

    Like ``asyncio.timeout``, apart from time in which the event loop did not run.
    """

    __slots__ = ("_due", "_handle", "_late", "_left", "_loop", "_step", "_timeout")

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._step = min(STEP, seconds / 4) if seconds > 0 else 0.0
        self._late = _LATE_STEPS
        self._due = 0.0
        self._timeout = asyncio.timeout(None)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Deadline:
        await self._timeout.__aenter__()
        self._loop = asyncio.get_running_loop()
        self._arm(self._loop)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        await self._timeout.__aexit__(kind, error, trace)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + self._step
        self._handle = loop.call_at(self._due, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._late and loop.time() - self._due > self._step:
            self._late -= 1
        else:
            self._left -= self._step
        if self._left > 1e-9:
            self._arm(loop)
        else:
            self._handle = None
            self._timeout.reschedule(loop.time())


async def wait(work: Iterable[asyncio.Future[Any]], seconds: float) -> None:
    """Wait until all of ``work`` is done, ``seconds`` at most. Cancels and raises nothing."""
    with suppress(TimeoutError):
        async with Deadline(seconds):
            await asyncio.wait(list(work))

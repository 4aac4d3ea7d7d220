"""Background tasks: every task has a name and an owner that cancels and awaits it.

asyncio keeps only weak references to tasks and reports the exception of a lost task when it is
garbage-collected, if at all. A task that is started here is held by a context manager, its failures
are logged, and it has ended when the context exits.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

log = logging.getLogger(__name__)

_CANCEL_AGAIN = 0.2
"""Seconds after which a task that is still running is cancelled once more."""

Work = Callable[[], Awaitable[None] | None]
"""One run of a periodic task: a function or a coroutine function."""


@asynccontextmanager
async def background_task(
    work: Coroutine[Any, Any, None], *, name: str
) -> AsyncIterator[asyncio.Task[None]]:
    """Run ``work`` in a task while the context is open, then cancel and await it.

    An exception of ``work`` is logged when it occurs and does not reach the context.
    """
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_log_failure)
    try:
        yield task
    finally:
        await cancel([task])


@asynccontextmanager
async def repeat_every(
    seconds: float | Callable[[], float],
    work: Work,
    *,
    name: str,
    ignored: tuple[type[Exception], ...] = (),
) -> AsyncIterator[asyncio.Task[None]]:
    """Call ``work`` periodically in a task while the context is open.

    See :func:`repeat` for the parameters. ``name`` names the task, also in the log.
    """
    async with background_task(
        repeat(seconds, work, name=name, ignored=ignored), name=name
    ) as task:
        yield task


async def repeat(
    seconds: float | Callable[[], float],
    work: Work,
    *,
    name: str,
    first: float | None = None,
    ignored: tuple[type[Exception], ...] = (),
) -> NoReturn:
    """Call ``work`` periodically until cancelled.

    ``seconds`` is the pause before each run, or a function that returns it; ``first`` is the pause
    before the first run, if it is different. A run that raises an exception is logged, and the next
    run takes place as usual. Exceptions of the types ``ignored`` are not logged, because another
    part reports them (the health check reports a lost database).
    """
    pause = first
    while True:
        if pause is None:
            pause = seconds() if callable(seconds) else seconds
        await asyncio.sleep(pause)
        pause = None
        try:
            result = work()
            if inspect.isawaitable(result):
                await result
        except ignored:
            pass
        except Exception:
            log.exception("periodic task failed: task=%s", name)


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until all have ended.

    A task is cancelled repeatedly, because a client library may swallow a cancellation that
    coincides with one of its own timeouts. Exceptions of the tasks are not raised.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCEL_AGAIN)


def _log_failure(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("background task failed: task=%s", task.get_name(), exc_info=error)

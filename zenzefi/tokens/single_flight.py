"""Single flight: concurrent look-ups of the same key share one result, and many keys one batch.

After Redis was flushed or lost, all tokens in use are looked up at once. One statement for each
would be thousands of statements; in batches it is a handful.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Generic, TypeVar

from zenzefi.errors import Unavailable

MAX_WAITING = 10_000
"""Keys without a result at a time. Further ones are refused with 503."""
BATCH = 250
_AT_ONCE = 4  # concurrent batches, so that a flood leaves database connections for other queries

_T = TypeVar("_T")
Results = Mapping[str, _T | Exception]
"""The result, or the error, of each key."""


async def resolve(
    look_up: Callable[[list[str]], Awaitable[Results[_T]]],
    keys: list[str],
    waiting: dict[str, asyncio.Future[_T]],
) -> None:
    """Look ``keys`` up, resolve their futures, and remove these from ``waiting``.

    An exception of ``look_up`` is the result of all keys. Its cancellation cancels the futures.
    """
    results: Results[_T]
    try:
        results = await look_up(keys)
    except Exception as error:
        results = dict.fromkeys(keys, error)
    except asyncio.CancelledError:
        for key in keys:
            waiting.pop(key).cancel()
        raise
    for key in keys:
        future, result = waiting.pop(key), results.get(key, Unavailable())
        if future.cancelled():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


class SingleFlight(Generic[_T]):
    """Shares look-ups. ``look_up`` gets a batch of keys and must end in bounded time."""

    def __init__(self, look_up: Callable[[list[str]], Awaitable[Results[_T]]]) -> None:
        self._look_up = look_up
        self._futures: dict[str, asyncio.Future[_T]] = {}
        self._unbatched: dict[str, None] = {}  # keys that no batch has taken yet, in order
        self._batches: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._futures)

    def __contains__(self, key: object) -> bool:
        return key in self._futures

    def join(self, key: str) -> asyncio.Future[_T]:
        """The future of the current look-up of ``key``. A look-up is started if there is none.

        The future is shared: await it through ``asyncio.shield``. Raises ``Unavailable`` (503) when
        too many keys wait.
        """
        future = self._futures.get(key)
        if future is None:
            if len(self._futures) >= MAX_WAITING:
                raise Unavailable
            future = self._futures[key] = asyncio.get_running_loop().create_future()
            # All waiting callers may be cancelled; asyncio would log an error never retrieved.
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._unbatched[key] = None
            if len(self._batches) < _AT_ONCE:
                # The task starts in the loop's next iteration and takes all keys added until then.
                task = asyncio.create_task(self._run(), name="batched look-ups")
                self._batches.add(task)
                task.add_done_callback(self._batches.discard)
        return future

    async def _run(self) -> None:
        while self._unbatched:
            keys = list(islice(self._unbatched, BATCH))
            for key in keys:
                del self._unbatched[key]
            await resolve(self._look_up, keys, self._futures)

    async def close(self) -> None:
        """Wait for the batches in progress."""
        await asyncio.gather(*self._batches, return_exceptions=True)

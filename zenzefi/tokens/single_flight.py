"""Look-ups under way: one per token however many ask, and many tokens in one batch.

After Redis was flushed or lost, every token in use is asked for at once. Asked one by one that
would be thousands of statements; in batches it is a handful.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Generic, TypeVar

from zenzefi.errors import Unavailable

MAX_WAITING = 10_000
"""Tokens asked for and not answered; the next one is told 503."""
BATCH = 250
_AT_ONCE = 4  # batches under way, so that a flood leaves connections for everything else

_T = TypeVar("_T")
Results = Mapping[str, _T | Exception]


async def answer_all(
    look_up: Callable[[list[str]], Awaitable[Results[_T]]],
    tokens: list[str],
    waiting: dict[str, asyncio.Future[_T]],
) -> None:
    """Look these tokens up and give each waiting future its result; they leave ``waiting``.

    Whatever goes wrong is the result of all of them. A cancelled look-up cancels them.
    """
    answers: Results[_T]
    try:
        answers = await look_up(tokens)
    except Exception as error:
        answers = dict.fromkeys(tokens, error)
    except asyncio.CancelledError:
        for token in tokens:
            waiting.pop(token).cancel()
        raise
    for token in tokens:
        future, answer = waiting.pop(token), answers.get(token, Unavailable())
        if future.cancelled():
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)


class SingleFlight(Generic[_T]):
    """Shared look-ups. ``look_up`` answers many tokens and never takes for ever."""

    def __init__(self, look_up: Callable[[list[str]], Awaitable[Results[_T]]]) -> None:
        self._look_up = look_up
        self._answers: dict[str, asyncio.Future[_T]] = {}
        self._waiting: dict[str, None] = {}  # those that no batch has taken yet, in their order
        self._batches: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._answers)

    def __contains__(self, token: object) -> bool:
        return token in self._answers

    def join(self, token: str) -> asyncio.Future[_T]:
        """The answer for this token, asked for now unless somebody did. Not to be cancelled:
        others may wait for it too. Raises ``Unavailable`` when too many wait."""
        answer = self._answers.get(token)
        if answer is None:
            if len(self._answers) >= MAX_WAITING:
                raise Unavailable
            answer = self._answers[token] = asyncio.get_running_loop().create_future()
            # Nobody need be left to hear it.
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._waiting[token] = None
            if len(self._batches) < _AT_ONCE:
                # It begins with the loop's next turn, and takes whoever asks until then.
                task = asyncio.create_task(self._fly(), name="token look-ups")
                self._batches.add(task)
                task.add_done_callback(self._batches.discard)
        return answer

    async def _fly(self) -> None:
        while self._waiting:
            tokens = list(islice(self._waiting, BATCH))
            for token in tokens:
                del self._waiting[token]
            await answer_all(self._look_up, tokens, self._answers)

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._batches, return_exceptions=True)

"""Questions to the database that requests wait for, with patience and a pause.

A database that is away answers at once; one that hangs (a machine that vanished, a fail-over under
way) does not answer at all. Nobody waits for it longer than :data:`PATIENCE`, and while it is away
it is asked once a :data:`PAUSE`, so that those who are known otherwise are not held up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, TypeVar

from zenzefi import deadline
from zenzefi.db.engine import Database
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.keys import Keyring
from zenzefi.tokens import repository, token_format
from zenzefi.tokens.clock import Clock

PATIENCE = 3.0
"""Seconds to wait for an answer."""
PAUSE = 1.0
"""Seconds after a failure in which the database is not asked."""
_MAX_LATE = 4  # questions that hang; each holds a connection until it times out


_T = TypeVar("_T")


class CircuitBreaker:
    """Asks a database that may be away: with a limit to waiting, and a pause after a failure."""

    def __init__(self) -> None:
        self._away_until = 0.0
        self._late: set[asyncio.Task[Any]] = set()

    async def ask(self, question: Callable[[], Coroutine[Any, Any, _T]], name: str) -> _T:
        """The result of the question, asked in a task of this name.

        Raises ``DatabaseUnavailable``, and what the question raises.
        """
        if monotonic() < self._away_until or len(self._late) >= _MAX_LATE:
            raise DatabaseUnavailable
        asked = asyncio.create_task(question(), name=name)
        try:
            await deadline.wait([asked], PATIENCE)
        except asyncio.CancelledError:
            asked.cancel()
            raise
        if not asked.done():
            self._late.add(asked)
            asked.add_done_callback(self._landed)
            self._away_until = monotonic() + PAUSE
            raise DatabaseUnavailable
        try:
            return asked.result()
        except DatabaseUnavailable:
            self._away_until = monotonic() + PAUSE
            raise

    def _landed(self, question: asyncio.Task[Any]) -> None:
        self._late.discard(question)
        if not question.cancelled():
            question.exception()  # seen here: nobody waits for it any more

    async def close(self) -> None:
        """Give up what hangs."""
        for question in self._late:
            question.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)


class DatabaseLookup:
    """Finds tokens by their values in the database."""

    def __init__(self, database: Database, keyring: Keyring, clock: Clock) -> None:
        self._database = database
        self._keyring = keyring
        self._clock = clock
        self._patience = CircuitBreaker()

    async def find(self, tokens: list[str]) -> dict[str, repository.State]:
        """What the database knows of these tokens; unknown ones are left out.

        Raises ``DatabaseUnavailable``.
        """
        return await self._patience.ask(lambda: self._ask(tokens), "token look-up in the database")

    async def _ask(self, tokens: list[str]) -> dict[str, repository.State]:
        by_index = {
            index: token for token in tokens for index in token_format.indexes(self._keyring, token)
        }
        asked = self._clock.wall()
        async with self._database.read() as connection:
            found = await repository.find(connection, list(by_index))
        for state in found.values():
            self._clock.note(state.now, asked)
            break
        return {by_index[index]: state for index, state in found.items()}

    async def close(self) -> None:
        """Give up what hangs."""
        await self._patience.close()

"""Questions to the database that requests wait for, with patience and a pause.

A database that is away answers at once; one that hangs (a machine that vanished, a fail-over under
way) does not answer at all. Nobody waits for it longer than :data:`PATIENCE`, and while it is away
it is asked once a :data:`PAUSE`, so that those who are known otherwise are not held up.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from zenzefi import deadline
from zenzefi.db.engine import Database
from zenzefi.errors import DatabaseUnavailable
from zenzefi.keys import Keyring
from zenzefi.tokens import store, value
from zenzefi.tokens.clock import Clock

PATIENCE = 3.0
"""Seconds to wait for an answer."""
PAUSE = 1.0
"""Seconds after a failure in which the database is not asked."""
_MAX_LATE = 4  # questions that hang; each holds a connection until it times out


class Lookups:
    """Finds tokens by their values in the database."""

    def __init__(self, database: Database, keyring: Keyring, clock: Clock) -> None:
        self._database = database
        self._keyring = keyring
        self._clock = clock
        self._away_until = 0.0
        self._late: set[asyncio.Task[dict[str, store.State]]] = set()

    async def find(self, tokens: list[str]) -> dict[str, store.State]:
        """What the database knows of these tokens; unknown ones are left out.

        Raises ``DatabaseUnavailable``.
        """
        if monotonic() < self._away_until or len(self._late) >= _MAX_LATE:
            raise DatabaseUnavailable
        question = asyncio.create_task(self._ask(tokens), name="token look-up in the database")
        try:
            await deadline.wait([question], PATIENCE)
        except asyncio.CancelledError:
            question.cancel()
            raise
        if not question.done():
            self._late.add(question)
            question.add_done_callback(self._landed)
            self._away_until = monotonic() + PAUSE
            raise DatabaseUnavailable
        try:
            return question.result()
        except DatabaseUnavailable:
            self._away_until = monotonic() + PAUSE
            raise

    async def _ask(self, tokens: list[str]) -> dict[str, store.State]:
        by_index = {
            index: token for token in tokens for index in value.indexes(self._keyring, token)
        }
        asked = self._clock.wall()
        async with self._database.read() as connection:
            found = await store.find(connection, list(by_index))
        for state in found.values():
            self._clock.note(state.now, asked)
            break
        return {by_index[index]: state for index, state in found.items()}

    def _landed(self, question: asyncio.Task[dict[str, store.State]]) -> None:
        self._late.discard(question)
        if not question.cancelled():
            question.exception()  # seen here: nobody waits for it any more

    async def close(self) -> None:
        """Give up what hangs."""
        for question in self._late:
            question.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)

"""Revalidation: the tokens and sign-ins of open connections are rechecked in the database.

This is the safety net under lost invalidation messages. A connection that was opened with a valid
token is closed within one interval after the token became invalid in the database.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from zenzefi.db.engine import Database
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.tokens import repository
from zenzefi.tokens.clock import Clock
from zenzefi.tokens.open_connections import OpenConnections

log = logging.getLogger(__name__)

_POLL = 1.0  # seconds between two checks whether a recheck is due
_BATCH = 500  # tokens in one query
_CLOCK_INTERVAL = 30.0  # seconds between two reads of the database's clock without open connections


class Revalidation:
    """Rechecks the tokens of open connections every ``interval()`` seconds, and on request.

    ``on_expired`` and ``on_revoked`` are called with the ID of each token that is not valid.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        open_connections: OpenConnections,
        *,
        interval: Callable[[], float],
        on_expired: Callable[[UUID], None],
        on_revoked: Callable[[UUID], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._open_connections = open_connections
        self._interval = interval
        self._on_expired = on_expired
        self._on_revoked = on_revoked
        self._requested = asyncio.Event()

    def request(self) -> None:
        """Recheck all open connections as soon as possible."""
        self._requested.set()

    async def run(self) -> None:
        """Recheck until cancelled. It also keeps :class:`Clock` up to date."""
        checked = clock_read = -_CLOCK_INTERVAL
        while True:
            if self._requested.is_set() or monotonic() >= checked + self._interval():
                self._requested.clear()
                checked = monotonic()
                try:
                    if await self.recheck():
                        clock_read = checked
                    elif checked >= clock_read + _CLOCK_INTERVAL:
                        await self._read_clock()
                        clock_read = checked
                except DatabaseUnavailable:
                    pass  # open connections stay open; the next recheck follows
                except SQLAlchemyError:
                    log.exception("failed to recheck the tokens of open connections")
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL):
                    await self._requested.wait()

    async def recheck(self) -> bool:
        """Recheck all open connections once; whether there were any.

        Raises ``DatabaseUnavailable``.
        """
        ids = list(self._open_connections)
        for start in range(0, len(ids), _BATCH):
            await self._recheck_batch(ids[start : start + _BATCH])
        return bool(ids)

    async def _recheck_batch(self, ids: list[UUID]) -> None:
        started = self._clock.wall()
        async with self._database.read() as connection:
            valid = await repository.valid_ids(connection, ids)
            invalid = [token_id for token_id in ids if token_id not in valid]
            states = {}
            if invalid:
                found = await repository.states(connection, invalid)
                states = {state.access.token_id: state for state in found}
            self._clock.note(await repository.database_time(connection), started)
        for token_id in invalid:
            state = states.get(token_id)
            if state is not None and not state.is_revoked:
                self._on_expired(token_id)
            else:
                self._on_revoked(token_id)

    async def _read_clock(self) -> None:
        started = self._clock.wall()
        async with self._database.read() as connection:
            self._clock.note(await repository.database_time(connection), started)

"""Periodic work, done by one node of the cluster at a time.

The node that holds the lock runs all jobs; when it goes, another takes over within seconds. The
lock lives where the data is, so that the two can't be apart: a session-level advisory lock on
PostgreSQL (it ends with the connection, whatever becomes of the node), a file lock beside SQLite.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from zenzefi.db.engine import DATABASE, Database
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.observability.metrics import JOB_RUNS

log = logging.getLogger(__name__)

_LOCK = 0x7A_65_6E_6A_6F_62_73  # "zenjobs"
_RETRY = 5.0  # seconds until a node that did not get the lock asks again
_ALIVE = 5.0  # seconds between looks whether the lock is still held


StillHeld = Callable[[], Awaitable[bool]]
Lock = Callable[[], AbstractAsyncContextManager[StillHeld]]
"""Held while the context is open; asks on the way whether it still is."""


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of periodic work. ``every``: seconds from the end of a run to the next."""

    name: str
    every: float
    work: Callable[[], Awaitable[None]]


class Jobs:
    """The jobs of one gate. Domains add theirs before the application starts."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._jobs: list[Job] = []
        self._afterwards: list[Callable[[], None]] = []
        self.is_leader = False

    def add(self, name: str, every: float, work: Callable[[], Awaitable[None]]) -> None:
        """Have ``work`` done every so many seconds, by one node at a time."""
        self._jobs.append(Job(name, every, work))

    def afterwards(self, forget: Callable[[], None]) -> None:
        """Call ``forget`` when another node may do the work: what was found here is old then."""
        self._afterwards.append(forget)

    async def run(self) -> None:
        """Compete for the lock for ever; do the work while holding it."""
        while True:
            try:
                async with self._lock() as still_held:
                    self.is_leader = True
                    log.debug("this node does the periodic work now")
                    await self._lead(still_held)
            except (LockBusy, DatabaseUnavailable, SQLAlchemyError, OSError):
                pass  # another node leads, or the database is away: health says so
            except Exception:
                log.exception("the periodic work broke off; it is tried again in %g s", _RETRY)
            finally:
                if self.is_leader:
                    for forget in self._afterwards:
                        forget()
                self.is_leader = False
            await asyncio.sleep(_RETRY)

    async def _lead(self, still_held: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._repeat(job), name=f"job {job.name}") for job in self._jobs
            ]
            while await still_held():  # noqa: ASYNC110 - a question to the database
                await asyncio.sleep(_ALIVE)
            for task in tasks:
                task.cancel()

    async def _repeat(self, job: Job) -> None:
        # Not all at once, and not all nodes' restarts in step.
        await asyncio.sleep(random.uniform(0, min(1.0, job.every)))  # noqa: S311 - only spreads load
        while True:
            try:
                await job.work()
                JOB_RUNS.labels(job.name, "ok").inc()
            except Exception:
                JOB_RUNS.labels(job.name, "failed").inc()
                log.exception("job %s failed; it runs again in %g s", job.name, job.every)
            await asyncio.sleep(job.every)


class LockBusy(Exception):
    """Another node holds the lock."""


def lock_of(database: Database, folder: Path) -> Lock:
    """The cluster's lock for this database. Entering raises :class:`LockBusy` if it is taken."""

    @contextlib.asynccontextmanager
    async def on_postgresql() -> AsyncIterator[StillHeld]:
        async with database.read() as connection:
            taken = await connection.execute(
                text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}
            )
            if not taken.scalar_one():
                raise LockBusy

            async def still_held() -> bool:
                try:
                    await connection.execute(text("SELECT 1"))
                except (SQLAlchemyError, OSError):
                    return False  # the lock went with the connection
                return True

            try:
                yield still_held
            finally:
                with contextlib.suppress(SQLAlchemyError, OSError):
                    await connection.execute(
                        text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK}
                    )

    @contextlib.asynccontextmanager
    async def on_sqlite() -> AsyncIterator[StillHeld]:
        handle = os.open(folder / "jobs.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockBusy from None

            async def still_held() -> bool:
                return True

            yield still_held
        finally:
            os.close(handle)

    if database.dialect != "sqlite":
        return on_postgresql
    folder.mkdir(parents=True, exist_ok=True)
    return on_sqlite


JOBS: web.AppKey[Jobs] = web.AppKey("jobs", Jobs)


def setup(app: web.Application, folder: Path) -> None:
    """Give the application its jobs; they run while it does. The database is there already."""
    jobs = app[JOBS] = Jobs(lock_of(app[DATABASE], folder))

    async def running(_: web.Application) -> AsyncIterator[None]:
        runner = asyncio.create_task(jobs.run(), name="jobs")
        yield
        runner.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await runner

    app.cleanup_ctx.append(running)

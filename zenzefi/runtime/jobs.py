"""Periodic jobs, run by one node of the cluster at a time.

Theory of operation
-------------------
All nodes compete for one lock. The node that holds it is the leader and runs all jobs. The lock is
kept where the data is, so a node that can reach the data can also see the lock: a session-level
advisory lock on PostgreSQL, a file lock next to the SQLite file.

States of a node::

    follower ──lock acquired──> leader ──lock lost, error, shutdown──> follower

- *Follower*: it tries to acquire the lock every ``_RETRY`` seconds. No job runs.
- *Leader*: every job runs in a separate task, the first time within a second, and then
  ``Job.every`` seconds after the end of each run. The node checks every ``_ALIVE`` seconds whether
  it still holds the lock.

Events of a leader:

- A job raises an exception: it is logged and counted, and the job runs again at its next time.
- The lock is lost (PostgreSQL closed the connection, or it was cut): the jobs are cancelled, the
  callbacks of :meth:`Jobs.on_leadership_lost` run, and the node is a follower.
- The node exits or crashes: the database or the kernel releases the lock. Another node becomes the
  leader within ``_RETRY`` seconds.

Guarantees:

- A job never runs twice at the same time on one node.
- Two leaders are possible for ``_ALIVE`` seconds at most, if a connection is lost without notice.
  Jobs therefore have to be safe when run concurrently: they use transactions and conditions.
- Values that only the leader knows (gauges in the metrics) are dropped by ``on_leadership_lost``,
  so a former leader does not report old ones.
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
from zenzefi.tasks import background_task, repeat

log = logging.getLogger(__name__)

_LOCK = 0x7A_65_6E_6A_6F_62_73  # "zenjobs"
_RETRY = 5.0  # seconds between two attempts to acquire the lock
_ALIVE = 5.0  # seconds between two checks of whether the lock is still held


StillHeld = Callable[[], Awaitable[bool]]
Lock = Callable[[], AbstractAsyncContextManager[StillHeld]]
"""The lock is held while the context is open; the yielded function checks whether it still is."""


@dataclass(frozen=True, slots=True)
class Job:
    """One periodic job. ``every`` is the time in seconds between the end of a run and the next."""

    name: str
    every: float
    work: Callable[[], Awaitable[None]]


class Jobs:
    """The jobs of one gate, which domains add before the application starts."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._jobs: list[Job] = []
        self._callbacks: list[Callable[[], None]] = []
        self.is_leader = False

    def add(self, name: str, every: float, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` every ``every`` seconds, on one node at a time."""
        self._jobs.append(Job(name, every, work))

    def on_leadership_lost(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when this node stops being the leader."""
        self._callbacks.append(callback)

    async def run(self) -> None:
        """Compete for the lock until cancelled, and run the jobs while holding it."""
        # These errors are not logged: another node is the leader, or the health check reports that
        # the database is unavailable.
        ignored = (LockBusy, DatabaseUnavailable, SQLAlchemyError, OSError)
        await repeat(_RETRY, self._compete, name="jobs", first=0, ignored=ignored)

    async def _compete(self) -> None:
        try:
            async with self._lock() as still_held:
                self.is_leader = True
                log.debug("leader of the periodic jobs")
                await self._lead(still_held)
        finally:
            if self.is_leader:
                for callback in self._callbacks:
                    callback()
            self.is_leader = False

    async def _lead(self, still_held: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._repeat(job), name=f"job {job.name}") for job in self._jobs
            ]
            while await still_held():  # noqa: ASYNC110 - a query of the database
                await asyncio.sleep(_ALIVE)
            for task in tasks:
                task.cancel()

    async def _repeat(self, job: Job) -> None:
        async def run() -> None:
            try:
                await job.work()
            except Exception:
                JOB_RUNS.labels(job.name, "failed").inc()
                raise
            JOB_RUNS.labels(job.name, "ok").inc()

        # A random delay, so that jobs do not start at the same time.
        first = random.uniform(0, min(1.0, job.every))  # noqa: S311 - only spreads load
        await repeat(job.every, run, name=f"job {job.name}", first=first)


class LockBusy(Exception):
    """Another node holds the lock."""


def lock_of(database: Database, folder: Path) -> Lock:
    """The cluster's lock for this database.

    Entering its context raises :class:`LockBusy` if another node holds it.
    """

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
                    return False  # the lock was released with the connection
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
    """Add the jobs to the application, which runs them; the database has to be set up before."""
    jobs = app[JOBS] = Jobs(lock_of(app[DATABASE], folder))

    async def running(_: web.Application) -> AsyncIterator[None]:
        async with background_task(jobs.run(), name="jobs"):
            yield

    app.cleanup_ctx.append(running)

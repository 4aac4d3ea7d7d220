"""One database, PostgreSQL or SQLite: connections, transactions, and what their loss means."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util import await_only
from sqlalchemy.util.queue import AsyncAdaptedQueue, Empty

from zenzefi.db.errors import DatabaseNotWritable, DatabaseUnavailable
from zenzefi.deadline import Deadline

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a new connection."""
COMMAND_TIMEOUT = 15.0
"""Seconds that one statement may take, and to wait for a free connection of the pool or for the
write lock of SQLite: those who hold them are given up after so long."""
_LAST_RESORT = 60.0  # seconds after which the driver gives up by itself
_BUSY_STEP = 0.5  # seconds that one attempt to get a lock of SQLite lasts


class _PatientQueue(AsyncAdaptedQueue[Any]):
    """Waits for a free connection of the pool by a :class:`Deadline`."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if not block or timeout is None:
            return super().get(block, timeout)
        try:
            return self.get_nowait()
        except Empty:
            pass
        try:
            return await_only(self._wait(timeout))
        except TimeoutError as error:
            raise Empty from error

    async def _wait(self, timeout: float) -> Any:
        async with Deadline(timeout):
            return await self._queue.get()


class _PatientPool(AsyncAdaptedQueuePool):
    _queue_class = _PatientQueue


# SQLAlchemy names a pool's logger after its class. What its own pools report at INFO (created,
# disposed) is as little news of this one.
logging.getLogger(f"{__name__}.{_PatientPool.__name__}").setLevel(logging.WARNING)


class _PatientConnection(AsyncConnection):
    """Each statement has :data:`COMMAND_TIMEOUT`, by a :class:`Deadline`."""

    async def execute(self, *args: Any, **options: Any) -> Any:
        async with Deadline(COMMAND_TIMEOUT):
            return await super().execute(*args, **options)


async def _connect_postgres(*args: Any, **options: Any) -> Any:
    import asyncpg

    async with Deadline(CONNECT_TIMEOUT):
        return await asyncpg.connect(*args, **options)


class Database:
    """The program's database. ``read()`` for statements, ``begin()`` for transactions.

    Both raise :class:`DatabaseUnavailable` when the database can't be reached or does not answer;
    other database errors (constraints) come through as SQLAlchemy's.
    """

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        parsed = make_url(url)
        self.dialect: str = parsed.get_backend_name()
        # SQLite has one writer; waiting for it here is fair, its own busy loop is not.
        self._writer = asyncio.Lock() if self.dialect == "sqlite" else None
        self._file: tuple[int, int] | None = None  # device and inode of the SQLite file
        options: dict[str, Any] = {
            "pool_timeout": COMMAND_TIMEOUT,
            "pool_pre_ping": True,
            "poolclass": _PatientPool,
        }
        if self.dialect == "sqlite":
            if parsed.database in (None, "", ":memory:"):
                raise ValueError("an in-memory SQLite database has no place for several readers")
            Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
            options |= {"pool_size": min(pool_size, 5), "max_overflow": 0}
            options["connect_args"] = {"timeout": _BUSY_STEP}
        else:
            options |= {"pool_size": pool_size, "max_overflow": pool_size}
            options["connect_args"] = {
                "async_creator_fn": _connect_postgres,
                "timeout": _LAST_RESORT,
                "command_timeout": _LAST_RESORT,
                "server_settings": {"application_name": "zenzefi", "timezone": "UTC"},
            }
        self.engine: AsyncEngine = create_async_engine(parsed, **options)
        self._reader = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        if self.dialect == "sqlite":
            event.listen(self.engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin_sqlite)
            event.listen(self.engine.sync_engine, "checkout", self._check_file)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection where each statement stands alone."""
        if self._writer is not None:
            self._find_file()
        with _translated():
            async with _connected(self._reader) as connection:
                yield connection

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end, rolled back by an exception."""
        if self._writer is None:
            with _translated():
                async with _connected(self.engine) as connection, connection.begin():
                    yield connection
            return
        async with self._writer:
            self._find_file()
            with _translated():
                async with _connected(self.engine) as connection, connection.begin():
                    yield connection

    def _check_file(self, connection: Any, record: Any, proxy: object) -> None:
        opened = record.info.setdefault("file", self._file)
        if opened is None:  # the first connection made the file
            record.info["file"] = self._file
        elif opened != self._file:
            raise DisconnectionError  # SQLAlchemy closes it and opens another

    @property
    def is_writing(self) -> bool:
        """Whether a transaction of this process holds SQLite's one writer, or waits for it."""
        return self._writer is not None and self._writer.locked()

    def _find_file(self) -> None:
        """On SQLite: insist that the file is still there.

        Open connections would go on with a file that was removed, and everything written would be
        lost. Where another file took its place, they are closed at their next use. Raises
        ``DatabaseUnavailable``.
        """
        try:
            found = os.stat(str(self.engine.url.database))
        except OSError as error:
            if self._file is None:  # about to be made
                return
            raise DatabaseUnavailable from error
        file = found.st_dev, found.st_ino
        self._file = file

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


@asynccontextmanager
async def _connected(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection of the pool that comes back even when the task is cancelled at any moment.

    SQLAlchemy's own context manager loses it when the cancellation falls into the connecting.
    """
    opening = asyncio.create_task(_PatientConnection(engine).start(), name="database: connect")
    try:
        connection = await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait([opening])  # bounded: connecting has a time-out
        if not opening.cancelled() and opening.exception() is None:
            await _to_the_end(opening.result().close())
        raise
    try:
        yield connection
    finally:
        await _to_the_end(connection.close())


async def _to_the_end(closing: Coroutine[Any, Any, None]) -> None:
    """Close, also while being cancelled; the cancellation goes on afterwards."""
    task = asyncio.create_task(closing, name="database: close")
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


DATABASE: web.AppKey[Database] = web.AppKey("database", Database)


_NO_POSTGRES = ("25006", "3D000", "55P03", "57014")
_NO_SQLITE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# 53100 disk full, 25006 read-only; of SQLite also what a full disk or a limit on the size of files
# makes of writing, syncing, truncating, and growing the shared memory file.
_POSTGRES_TAKES_NO_WRITES = ("53100", "25006")
_SQLITE_TAKES_NO_WRITES = (
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
)


class _translated:  # noqa: N801 - a context manager that reads as a clause
    """Turn "the database is not there" into :class:`DatabaseUnavailable`, nothing else."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        if isinstance(error, DBAPIError) and _takes_no_writes(error):
            raise DatabaseNotWritable from error
        if is_unavailable(error):
            raise DatabaseUnavailable from error


def _takes_no_writes(error: DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return (
            code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY)
            or code in _SQLITE_TAKES_NO_WRITES
        )
    return getattr(error.orig, "sqlstate", None) in _POSTGRES_TAKES_NO_WRITES


def is_unavailable(error: BaseException) -> bool:
    """Whether this exception means that the database is away, busy beyond reason or read-only."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or isinstance(error, OperationalError | InterfaceError):
            return True
        if getattr(error.orig, "sqlite_errorcode", None) in _NO_SQLITE:
            return True
        # asyncpg's own classes arrive wrapped; SQLSTATE 08 connection, 28 signing in, 3D000 no such
        # database, 53 resources, 57P0x shutdown, 25006 read-only (a standby after a fail-over),
        # 55P03 lock timeout.
        state = getattr(error.orig, "sqlstate", None) or ""
        return state.startswith(("08", "28", "53", "57P")) or state in _NO_POSTGRES
    return isinstance(error, PoolTimeout | OSError | asyncio.TimeoutError)


def _prepare_sqlite(connection: Any, record: object) -> None:
    # pysqlite's implicit BEGIN is off: _begin_sqlite says which kind of transaction it is.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={int(_BUSY_STEP * 1000)}",
        "synchronous=NORMAL",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    _write_ahead(connection, cursor)
    cursor.close()


def _write_ahead(connection: Any, cursor: Any) -> None:
    """Put the file into WAL mode, once in its life.

    SQLite does not wait for others there, whatever the time-out says: of several programs that open
    a new file at once all but one would be told that it is locked.
    """
    left = CONNECT_TIMEOUT
    while True:
        cursor.execute("PRAGMA journal_mode")
        if cursor.fetchone()[0] == "wal":
            return
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            left -= 0.02
            if left < 0:
                raise
            connection.run_async(lambda _: asyncio.sleep(0.02))


def _begin_sqlite(connection: Any) -> None:
    # IMMEDIATE takes the write lock at once: a read that turns into a write could not wait for it.
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        return
    # Attempts are counted, not seconds: the holder may be another application in this process,
    # which can't let go of the lock while the event loop is held up.
    left = COMMAND_TIMEOUT
    while True:
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except OperationalError as error:
            left -= _BUSY_STEP
            if left <= 0 or not _is_busy(error):
                raise
        else:
            return


def _is_busy(error: DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_BUSY


def sqlite_version() -> str:
    """The SQLite library's version, for ``zenzefi check``."""
    return sqlite3.sqlite_version

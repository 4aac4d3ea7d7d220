"""The database, PostgreSQL or SQLite: connections, transactions, and errors of availability."""

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
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util import await_only
from sqlalchemy.util.queue import AsyncAdaptedQueue, Empty

from zenzefi.db.async_engine import AsyncConnection, AsyncEngine, create_async_engine
from zenzefi.db.errors import DatabaseNotWritable, DatabaseUnavailable
from zenzefi.deadline import Deadline

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a new connection."""
COMMAND_TIMEOUT = 15.0
"""Timeout in seconds of one statement, and of waiting for a free connection of the pool or for the
write lock of SQLite."""
_LAST_RESORT = 60.0  # seconds; timeouts of the driver, above ours
_BUSY_STEP = 0.5  # seconds of one attempt to obtain a lock of SQLite


class _PatientQueue(AsyncAdaptedQueue[Any]):
    """Waits for a free connection of the pool with a :class:`Deadline`."""

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


# SQLAlchemy names a pool's logger after its class. It silences INFO (created, disposed) for its own
# pools only.
logging.getLogger(f"{__name__}.{_PatientPool.__name__}").setLevel(logging.WARNING)


class _PatientConnection(AsyncConnection):
    """Limits each statement to :data:`COMMAND_TIMEOUT` with a :class:`Deadline`."""

    async def execute(self, *args: Any, **options: Any) -> Any:
        async with Deadline(COMMAND_TIMEOUT):
            return await super().execute(*args, **options)


async def _connect_postgres(*args: Any, **options: Any) -> Any:
    import asyncpg

    async with Deadline(CONNECT_TIMEOUT):
        return await asyncpg.connect(*args, **options)


class Database:
    """The database: ``read()`` for single statements, ``begin()`` for transactions.

    Both raise :class:`DatabaseUnavailable` if the database is unreachable or exceeds a timeout.
    Other errors, such as violated constraints, are SQLAlchemy's.
    """

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        parsed = make_url(url)
        self.dialect: str = parsed.get_backend_name()
        # SQLite has one writer. This lock is fair; the busy loop of SQLite is not.
        self._writer = asyncio.Lock() if self.dialect == "sqlite" else None
        self._file: tuple[int, int] | None = None  # device and inode of the SQLite file
        options: dict[str, Any] = {
            "pool_timeout": COMMAND_TIMEOUT,
            "pool_pre_ping": True,
            "poolclass": _PatientPool,
        }
        if self.dialect == "sqlite":
            if parsed.database in (None, "", ":memory:"):
                raise ValueError(
                    "an in-memory SQLite database does not support several connections"
                )
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
        """A connection in autocommit mode."""
        if self._writer is not None:
            self._find_file()
        with _translated():
            async with _connected(self._reader) as connection:
                yield connection

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction, committed at exit, rolled back on an exception."""
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
        if opened is None:  # the first connection created the file
            record.info["file"] = self._file
        elif opened != self._file:
            raise DisconnectionError  # SQLAlchemy replaces the connection

    @property
    def is_writing(self) -> bool:
        """Whether a transaction of this process writes to SQLite, or waits for the write lock."""
        return self._writer is not None and self._writer.locked()

    def _find_file(self) -> None:
        """Verify that the SQLite file exists. Raises ``DatabaseUnavailable``.

        Open connections would continue to write to a file that was deleted, and lose the data. If
        the file was replaced, connections are closed at their next use.
        """
        try:
            found = os.stat(str(self.engine.url.database))
        except OSError as error:
            if self._file is None:  # not created yet
                return
            raise DatabaseUnavailable from error
        file = found.st_dev, found.st_ino
        self._file = file

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


@asynccontextmanager
async def _connected(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection of the pool that is always returned, even if the task is cancelled.

    SQLAlchemy's context manager loses the connection if the task is cancelled while connecting.
    """
    opening = asyncio.create_task(_PatientConnection(engine).start(), name="database: connect")
    try:
        connection = await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait([opening])  # bounded: connecting has a timeout
        if not opening.cancelled() and opening.exception() is None:
            await _to_the_end(opening.result().close())
        raise
    try:
        yield connection
    finally:
        await _to_the_end(connection.close())


async def _to_the_end(closing: Coroutine[Any, Any, None]) -> None:
    """Close the connection even if the task is cancelled; the cancellation is raised afterwards."""
    task = asyncio.create_task(closing, name="database: close")
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


DATABASE: web.AppKey[Database] = web.AppKey("database", Database)


_NO_POSTGRES = ("25006", "3D000", "55P03", "57014")
_NO_SQLITE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# 53100 disk full, 25006 read-only. SQLite also reports a full disk or a limit on file sizes as an
# error of writing, syncing, truncating, or growing the shared memory file.
_POSTGRES_TAKES_NO_WRITES = ("53100", "25006")
_SQLITE_TAKES_NO_WRITES = (
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
)


class _translated:  # noqa: N801 - a context manager
    """Convert errors of availability to :class:`DatabaseUnavailable`."""

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
    """Whether an exception means that the database is unreachable, overloaded or read-only."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or isinstance(error, OperationalError | InterfaceError):
            return True
        if getattr(error.orig, "sqlite_errorcode", None) in _NO_SQLITE:
            return True
        # asyncpg's exceptions are wrapped. SQLSTATE 08 connection, 28 authentication, 3D000 unknown
        # database, 53 resources, 57P0x shutdown, 25006 read-only (a standby after a fail-over),
        # 55P03 lock timeout.
        state = getattr(error.orig, "sqlstate", None) or ""
        return state.startswith(("08", "28", "53", "57P")) or state in _NO_POSTGRES
    return isinstance(error, PoolTimeout | OSError | asyncio.TimeoutError)


def _prepare_sqlite(connection: Any, record: object) -> None:
    # Disables the implicit BEGIN of pysqlite; _begin_sqlite sends it.
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
    """Set the file to WAL mode, which is stored in the file.

    SQLite ignores its timeout here: if several processes open a new file concurrently, all but one
    receive "database is locked", so the statement is retried.
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
    # IMMEDIATE obtains the write lock at once: a transaction that reads first can't wait for it.
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        return
    # Attempts are counted, not seconds: the lock may be held by another application in this
    # process, which can't release it while the event loop is blocked.
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

"""Look-up times with a million access tokens in the database."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

from sqlalchemy import text

from zenzefi.accounts.models import users
from zenzefi.db import migrate
from zenzefi.db.engine import Database
from zenzefi.keys import Keyring
from zenzefi.tokens import token_format
from zenzefi.tokens.errors import TokenInvalid
from zenzefi.tokens.validation import TokenValidator

_SECRET = "x7Gq2mVbN4kzR9wLp3tYc8sDf6hJ1aQe5uKo0iZr"
_USERS = 1_000
_BATCH = 50_000
_MAX_SQLITE = 100_000  # tokens; larger installations use PostgreSQL
_KEPT = 4_000  # values of tokens that are looked up
_ENCRYPTED = 164  # bytes of 64 characters encrypted with Fernet
_COLUMNS = (
    *("id", "user_id", "token_index", "token_encrypted", "prefix", "duration_hours", "scope"),
    *("cost", "created_at", "activated_at"),
)


@dataclass(frozen=True)
class Times:
    """Times of one operation, repeated. In seconds."""

    what: str
    median: float
    p99: float

    @classmethod
    def of(cls, what: str, seconds: list[float]) -> Times:
        """From a list of measurements."""
        ordered = sorted(seconds)
        return cls(what, statistics.median(ordered), ordered[int(len(ordered) * 0.99)])


@dataclass(frozen=True)
class Measured:
    """Results for one database with one number of tokens."""

    store: str
    tokens: int
    build: float
    bytes_on_disk: int
    times: list[Times]


async def _rows(
    keyring: Keyring, owners: list[UUID], count: int, kept: list[str]
) -> list[tuple[object, ...]]:
    now = datetime.now(UTC)
    rows: list[tuple[object, ...]] = []
    for number in range(count):
        token = token_format.new_token()
        if len(kept) < _KEPT and number % 5 == 0:
            kept.append(token)
        rows.append(
            (
                *(uuid4(), owners[number % len(owners)], token_format.index(keyring, token)),
                *(os.urandom(_ENCRYPTED), token[:8], 24, "full", 0, now),
                now if number % 2 else None,
            )
        )
    return rows


def _plain(value: object) -> object:
    """The value as SQLAlchemy's types store it in SQLite, without their cost per value."""
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S.%f}"
    return value


async def _fill(database: Database, keyring: Keyring, count: int) -> list[str]:
    """Insert ``count`` tokens; returns some of their values."""
    owners = [uuid4() for _ in range(_USERS)]
    async with database.begin() as connection:
        await connection.execute(
            users.insert(),
            [
                {
                    "id": one,
                    "email": f"{one}@example.org",
                    "email_key": f"{one}@example.org",
                    "username": str(one),
                    "username_key": str(one),
                    "password_hash": "-",
                }
                for one in owners
            ],
        )
    kept: list[str] = []
    for start in range(0, count, _BATCH):
        rows = await _rows(keyring, owners, min(_BATCH, count - start), kept)
        async with database.begin() as connection:
            if database.dialect == "postgresql":
                raw = await connection.get_raw_connection()
                assert raw.driver_connection is not None
                await raw.driver_connection.copy_records_to_table(
                    "access_tokens", records=rows, columns=_COLUMNS
                )
            else:
                # The index is filled in random order, so it must fit into memory.
                await connection.exec_driver_sql("PRAGMA cache_size = -400000")
                names, marks = ", ".join(_COLUMNS), ", ".join("?" * len(_COLUMNS))
                await connection.exec_driver_sql(
                    f"INSERT INTO access_tokens ({names}) VALUES ({marks})",
                    [tuple(map(_plain, row)) for row in rows],
                )
    async with database.read() as connection:
        await connection.execute(text("ANALYZE"))
    return kept


async def _timed(what: str, works: list[Callable[[], Awaitable[object]]], seconds: float) -> Times:
    took = []
    until = time.perf_counter() + seconds
    for work in works:
        started = time.perf_counter()
        await work()
        took.append(time.perf_counter() - started)
        if time.perf_counter() > until:
            break
    return Times.of(what, took)


async def _measure(
    database: Database, keyring: Keyring, kept: list[str], seconds: float
) -> list[Times]:
    validator = TokenValidator(database, keyring)
    random.shuffle(kept)
    half = len(kept) // 2
    found: list[Times] = []

    async def unknown(token: str) -> None:
        try:
            await validator.validate(token)
        except TokenInvalid:
            return
        raise AssertionError("a token that does not exist was found")

    async with validator.running():
        for token in kept[:50]:
            await validator.validate(token)
        validator.cache.clear_known()
        found.append(
            await _timed(
                "lookup by value",
                [partial(validator.validate, token) for token in kept[:half]],
                seconds,
            )
        )
        found.append(
            await _timed(
                "unknown",
                [partial(unknown, token_format.new_token()) for _ in range(half)],
                seconds,
            )
        )
        validator.cache.clear_known()
        started = time.perf_counter()
        together = kept[half : half + 1000]
        accesses = await asyncio.gather(*map(validator.validate, together))
        each = (time.perf_counter() - started) / len(together)
        found.append(Times("one of 1,000 concurrent lookups", each, each))
        fresh = [access for access in accesses if not access.is_activated]
        found.append(
            await _timed(
                "activation",
                [partial(validator.activate, access) for access in fresh],
                seconds,
            )
        )
        known = kept[half]
        await validator.validate(known)
        rounds = 20_000
        started = time.perf_counter()
        for _ in range(rounds):
            validator.cached(known)
        each = (time.perf_counter() - started) / rounds
        found.append(Times("in the process cache", each, each))
    return found


async def _size(database: Database) -> int:
    if database.dialect == "postgresql":
        query = "SELECT pg_total_relation_size('access_tokens')"
    else:
        query = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    async with database.read() as connection:
        return int((await connection.execute(text(query))).scalar_one())


async def _one(url: str, store: str, count: int, seconds: float) -> Measured:
    keyring = Keyring(_SECRET)
    database = Database(url)
    try:
        await migrate.upgrade(database)
        started = time.perf_counter()
        kept = await _fill(database, keyring, count)
        build = time.perf_counter() - started
        times = await _measure(database, keyring, kept, seconds)
        return Measured(store, count, build, await _size(database), times)
    finally:
        await database.close()


@contextmanager
def _postgres() -> Iterator[str]:
    from tests.kit.servers import own_postgres

    with own_postgres() as server:
        yield server.url.replace("postgresql://", "postgresql+asyncpg://")


def measure(sizes: list[int], seconds: float, folder: Path) -> Iterator[Measured]:
    """Each size in a new PostgreSQL, then up to ``_MAX_SQLITE`` tokens in a new SQLite file."""
    for count in sizes:
        with _postgres() as url:
            yield asyncio.run(_one(url, "PostgreSQL", count, seconds))
    for count in sorted({min(count, _MAX_SQLITE) for count in sizes}):
        url = f"sqlite+aiosqlite:///{folder / f'{count}.sqlite3'}"
        yield asyncio.run(_one(url, "SQLite", count, seconds))

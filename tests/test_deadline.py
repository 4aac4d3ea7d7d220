"""Deadlines measure the other side: a pause of the event loop is not a hanging server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.kit.api import buy, call, sign_up
from tests.kit.gates import SECRET_KEY, MakeGate, Stores
from tests.kit.recording_upstream import RecordingUpstream
from tests.kit.servers import own_redis
from zenzefi.db import engine
from zenzefi.db.engine import Database
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.deadline import Deadline, wait
from zenzefi.observability.metrics import RATE_LIMIT_FAILURES
from zenzefi.rate_limits import limiter
from zenzefi.rate_limits.limiter import RateLimits
from zenzefi.runtime import checks
from zenzefi.settings import load_settings
from zenzefi.tokens import circuit_breaker, redis_cache
from zenzefi.tokens.redis_cache import RedisCache

SHORT = 0.25  # seconds of a deadline
PATIENT = 1.0  # the same where a server does real work, on a machine that may be busy
HELD = 1.5  # seconds that the loop is held up


def held_soon(after: float = 0.0, seconds: float = HELD) -> None:
    """As a busy machine does: nothing of this process's loop runs for a while."""
    asyncio.get_running_loop().call_later(after, time.sleep, seconds)


@asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    """The port of a server that takes connections and says nothing."""
    open_ends: list[asyncio.StreamWriter] = []

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ends.append(writer)
        await reader.read()

    server = await asyncio.start_server(taken, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        for writer in open_ends:
            writer.close()
        server.close()


async def over_a_socket() -> None:
    """Query an echo server, which responds while this loop may be blocked."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        writer.close()


async def in_a_thread() -> None:
    await asyncio.to_thread(time.sleep, 0.01)
    await asyncio.sleep(0)


@pytest.mark.parametrize("work", [over_a_socket, in_a_thread])
@pytest.mark.parametrize("after", [0.0, 0.005, 0.02])
async def test_what_arrives_while_the_loop_is_held_up_is_in_time(
    work: Callable[[], Awaitable[None]], after: float
) -> None:
    held_soon(after, 2 * SHORT)
    async with Deadline(SHORT):
        await work()
        await asyncio.sleep(0.03)  # a moment in which the loop is held up for certain


async def test_a_loop_that_is_held_up_again_and_again_costs_its_steps_only() -> None:
    for number in range(4):
        held_soon(number * (2 * SHORT + 0.02), 2 * SHORT)
    async with Deadline(SHORT):
        for _ in range(4):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.2, 0.4])
async def test_what_hangs_is_given_up(seconds: float) -> None:
    with pytest.raises(TimeoutError):
        async with Deadline(seconds):
            await asyncio.Event().wait()
    hanging = asyncio.ensure_future(asyncio.Event().wait())
    await wait([hanging], seconds)
    assert not hanging.done()
    hanging.cancel()


async def test_what_hangs_is_given_up_on_a_loop_that_is_always_late() -> None:
    async def late() -> None:
        while True:
            time.sleep(0.003)  # noqa: ASYNC251 - holding the loop up is the point
            await asyncio.sleep(0)

    busy = asyncio.create_task(late())
    with pytest.raises(TimeoutError):
        async with Deadline(0.004):
            await asyncio.Event().wait()
    busy.cancel()


async def test_a_cancellation_and_errors_pass_a_deadline() -> None:
    with pytest.raises(KeyError):
        async with Deadline(5):
            raise KeyError

    async def waiting() -> None:
        async with Deadline(5):
            await asyncio.Event().wait()

    task = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- the database


@pytest.fixture
def short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate's deadlines, so short that a held loop outlasts each."""
    monkeypatch.setattr(engine, "CONNECT_TIMEOUT", PATIENT)
    monkeypatch.setattr(engine, "COMMAND_TIMEOUT", PATIENT)
    monkeypatch.setattr(engine, "_BUSY_STEP", PATIENT / 3)
    monkeypatch.setattr(circuit_breaker, "TIMEOUT", PATIENT)
    monkeypatch.setattr(redis_cache, "_OPERATION_TIMEOUT", PATIENT)
    monkeypatch.setattr(limiter, "_TIMEOUT", PATIENT)
    monkeypatch.setattr(checks, "TIMEOUT", PATIENT)


@pytest.mark.parametrize("after", [0.0, 0.01])
@pytest.mark.parametrize("kind", ["read", "begin"])
async def test_a_held_loop_does_not_make_the_database_unavailable(
    short_deadlines: None, database_url: str, kind: str, after: float
) -> None:
    database = Database(database_url, pool_size=1)
    for _ in range(2):  # the first one connects
        held_soon(after)
        async with getattr(database, kind)() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    assert (await checks.ping_database(database)).ok
    await database.close()


async def test_a_held_loop_does_not_empty_the_pool(
    short_deadlines: None, postgres_database: str
) -> None:
    database = Database(postgres_database, pool_size=1)

    async def use() -> None:
        async with database.read() as connection:
            await connection.execute(text("SELECT 1"))
            await asyncio.sleep(0.03)

    await asyncio.gather(use(), use())  # both connections are there
    users = [asyncio.create_task(use()) for _ in range(4)]
    held_soon(0.01)
    await asyncio.gather(*users)
    await database.close()


async def test_two_applications_on_one_sqlite_file_wait_for_each_other_on_a_held_loop(
    short_deadlines: None, sqlite_database: str
) -> None:
    one, other = Database(sqlite_database), Database(sqlite_database)

    async def write(database: Database) -> None:
        async with database.begin() as connection:
            await connection.execute(text("SELECT 1"))
            await asyncio.sleep(0.01)

    writers = [asyncio.create_task(write(one)), asyncio.create_task(write(other))]
    held_soon(0.005)
    await asyncio.gather(*writers)
    await one.close()
    await other.close()


async def test_a_postgresql_that_hangs_is_unavailable_soon(short_deadlines: None) -> None:
    async with silent_server() as port:
        database = Database(f"postgresql+asyncpg://nobody@127.0.0.1:{port}/nothing")
        with pytest.raises(DatabaseUnavailable):
            async with asyncio.timeout(20), database.read():
                pass
        assert not (await checks.ping_database(database)).ok
        await database.close()


async def test_a_statement_that_hangs_is_given_up(
    short_deadlines: None, postgres_database: str
) -> None:
    database = Database(postgres_database, pool_size=1)
    with pytest.raises(DatabaseUnavailable):
        async with asyncio.timeout(20), database.begin() as connection:
            await connection.execute(text("SELECT pg_sleep(60)"))
    async with database.read() as connection:  # the pool has its connection back
        assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    await database.close()


async def test_a_sqlite_file_that_another_program_keeps_locked_is_given_up(
    short_deadlines: None, sqlite_database: str
) -> None:
    import sqlite3

    holder = sqlite3.connect(sqlite_database.removeprefix("sqlite+aiosqlite:///"))
    holder.execute("BEGIN IMMEDIATE")
    database = Database(sqlite_database)
    with pytest.raises(DatabaseUnavailable):
        async with asyncio.timeout(20), database.begin():
            pass
    holder.close()
    async with database.begin() as connection:
        await connection.execute(text("SELECT 1"))
    await database.close()


# --- Redis


async def test_a_held_loop_is_no_failure_of_redis(
    short_deadlines: None, redis_url: str, tmp_path: Path
) -> None:
    settings = load_settings(
        {"redis_url": redis_url, "secret_key": SECRET_KEY, "data_dir": tmp_path}
    )
    counter, redis = RateLimits(settings), RedisCache(redis_url)
    states: list[bool] = []
    listening = asyncio.create_task(redis.listen(lambda ended: None, states.append))
    async with asyncio.timeout(20):
        while not states:  # noqa: ASYNC110 - the subscription tells by a callback
            await asyncio.sleep(0.01)
    failures = RATE_LIMIT_FAILURES._value.get()
    for number in range(2):
        held_soon()
        assert await redis.spend(f"thing-{number}", 60) is True
        held_soon()
        assert await counter.hit("login", str(number)) is not None
        assert RATE_LIMIT_FAILURES._value.get() == failures
        held_soon()
        assert await redis.ping()
        held_soon()
        assert (await checks.ping_redis(redis_url)).ok
    assert states == [True], "the subscription was given up"
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await counter.close()
    await redis.close()


async def test_a_redis_that_hangs_is_given_up(short_deadlines: None, tmp_path: Path) -> None:
    with own_redis() as server:
        settings = load_settings(
            {"redis_url": server.url, "secret_key": SECRET_KEY, "data_dir": tmp_path}
        )
        counter, redis = RateLimits(settings), RedisCache(server.url)
        states: list[bool] = []
        listening = asyncio.create_task(redis.listen(lambda ended: None, states.append))
        assert await redis.spend("before", 60) is True
        server.pause()
        try:
            async with asyncio.timeout(30):
                assert await redis.spend("thing", 60) is None
                failures = RATE_LIMIT_FAILURES._value.get()
                await counter.hit("login", "anybody")  # counted in this process
                assert RATE_LIMIT_FAILURES._value.get() > failures
                assert not await redis.ping()
                assert not (await checks.ping_redis(server.url)).ok
                while states[-1:] != [False]:  # noqa: ASYNC110 - told by a callback
                    await asyncio.sleep(0.01)
        finally:
            server.resume()
        async with asyncio.timeout(30):
            while states[-1] is not True:  # noqa: ASYNC110 - told by a callback
                await asyncio.sleep(0.01)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await counter.close()
        await redis.close()


# --- a whole gate


async def test_requests_of_a_blocked_gate_get_responses(
    short_deadlines: None, make_gate: MakeGate, upstream: RecordingUpstream
) -> None:
    gate = await make_gate(zenzefi_target_url=upstream.origin, rate_limit_api="off")
    bearer = await sign_up(gate)
    for number in range(3):
        token = await buy(gate, bearer, duration_hours=1)
        held_soon(number / 500)
        headers = {"X-Access-Token": token["token"]}
        async with gate.get("/api/v1/proxy/page", headers=headers) as response:
            assert response.status == 200, await response.text()
        held_soon(number / 500)
        assert (await call(gate, "GET", "/currency/balance", bearer=bearer))[0] == 200
        held_soon(number / 500)
        async with gate.get("/readyz") as response:
            assert response.status == 200


async def test_an_upstream_that_responds_while_the_loop_is_blocked_is_healthy(
    short_deadlines: None, stores: Stores, upstream: RecordingUpstream
) -> None:
    settings = load_settings({**stores.settings, "zenzefi_target_url": upstream.origin})
    held_soon()
    assert (await checks.check_upstream(settings)).ok
    async with silent_server() as port:
        settings = load_settings(
            {**stores.settings, "zenzefi_target_url": f"http://127.0.0.1:{port}"}
        )
        assert not (await checks.check_upstream(settings)).ok

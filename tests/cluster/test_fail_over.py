"""PostgreSQL fails over: the primary dies, its standby is promoted, and no gate is restarted."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from aiohttp import ClientSession, DummyCookieJar

from tests.kit.cluster import Cluster, ClusterServers, Report, until
from tests.kit.databases import database_named, migrate_schema
from tests.kit.gates import SECRET_KEY
from tests.kit.servers import Postgres, own_postgres, own_redis
from tests.kit.streaming_upstream import streaming_upstream


@pytest.fixture
def pair() -> Iterator[tuple[Postgres, Postgres]]:
    with own_postgres() as primary:
        asyncio.run(migrate_schema(database_named(primary.url, "postgres")))
        standby = primary.standby()
        try:
            yield primary, standby
        finally:
            standby.stop()


@pytest.fixture
async def cluster(pair: tuple[Postgres, Postgres], tmp_path: Path) -> AsyncIterator[Cluster]:
    with own_redis() as redis, streaming_upstream() as origin:
        hosts = "&".join(f"host=127.0.0.1:{server.port}" for server in pair)
        settings = {
            "SECRET_KEY": SECRET_KEY,
            "LOG_FORMAT": "json",
            "DATABASE_URL": f"postgresql://postgres@/postgres?{hosts}&target_session_attrs=primary",
            "REDIS_URL": redis.url,
            "ZENZEFI_TARGET_URL": origin,
            "DRAIN_TIMEOUT": "3",
        }
        servers = ClusterServers(pair[0], redis, origin, settings, str(tmp_path))
        servers.start_node()
        try:
            async with ClientSession(cookie_jar=DummyCookieJar()) as session:
                found = Cluster(servers, session)
                await found.wait_until_ready()
                yield found
        finally:
            servers.nodes[0].stop()


async def test_the_standby_takes_over(
    cluster: Cluster, report: Report, pair: tuple[Postgres, Postgres]
) -> None:
    primary, standby = pair
    user = await cluster.sign_up()
    known, fresh, gone = [await cluster.buy(user) for _ in range(3)]
    assert (await cluster.get(0, known.value))[0] == 200
    await cluster.call(0, "DELETE", f"/tokens/{gone.id}", gone.bearer)
    await _caught_up(primary, standby)
    primary.stop(signal.SIGQUIT)
    started = time.perf_counter()
    assert (await cluster.get(0, known.value))[0] == 200
    assert await cluster.get(0, fresh.value) == (503, "database_unavailable")
    await asyncio.to_thread(standby.promote)

    async def is_in() -> bool:
        return (await cluster.get(0, fresh.value))[0] == 200  # reads, and writes: it is activated

    await until(is_in, within=30)
    report(f"failing over took {time.perf_counter() - started:.2f} s")
    assert (await cluster.get(0, gone.value)) == (401, "token_revoked")
    assert (await cluster.get(0, known.value))[0] == 200
    assert (await cluster.buy(user)).value


async def _caught_up(primary: Postgres, standby: Postgres) -> None:
    """Wait until the standby has everything: PostgreSQL's replication is asynchronous."""
    one, other = await asyncpg.connect(primary.url), await asyncpg.connect(standby.url)

    async def same() -> bool:
        replayed = await other.fetchval("SELECT pg_last_wal_replay_lsn()")
        return bool(replayed is not None and replayed >= written)

    try:
        await one.execute("CHECKPOINT")  # the tests' server does not wait for its disk
        written = await one.fetchval("SELECT pg_current_wal_flush_lsn()")
        await until(same)
    finally:
        await one.close()
        await other.close()

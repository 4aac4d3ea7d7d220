"""One cluster for all tests of the package: they break it, and it heals by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from tests.kit.cluster import Cluster, ClusterServers, Report
from tests.kit.databases import database_named, migrate_schema
from tests.kit.gates import SECRET_KEY
from tests.kit.servers import own_postgres, own_redis
from tests.kit.streaming_upstream import streaming_upstream

_SETTINGS = {
    "SECRET_KEY": SECRET_KEY,
    "LOG_FORMAT": "json",
    "ACCESS_LOG": "false",
    "RATE_LIMIT_API": "off",
    "RATE_LIMIT_REGISTER": "off",
    "RATE_LIMIT_LOGIN": "off",
    "RATE_LIMIT_RELEASE": "off",
    "DRAIN_TIMEOUT": "3",
}


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Report:
    """Print a measured time, whether or not output is captured."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def print_line(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", flush=True)

    return print_line


@pytest.fixture(scope="package")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServers]:
    """PostgreSQL, Redis, an upstream, and two gates in separate processes."""
    folder = str(tmp_path_factory.mktemp("cluster"))
    with own_postgres() as postgres, own_redis() as redis, streaming_upstream() as origin:
        asyncio.run(migrate_schema(database_named(postgres.url, "postgres")))
        settings = {
            **_SETTINGS,
            "DATABASE_URL": postgres.url,
            "REDIS_URL": redis.url,
            "ZENZEFI_TARGET_URL": origin,
        }
        found = ClusterServers(postgres, redis, origin, settings, folder)
        try:
            for _ in range(2):
                found.start_node()
            yield found
        finally:
            for node in found.nodes:
                node.stop()


@pytest.fixture
async def cluster(servers: ClusterServers, tmp_path: Path) -> AsyncIterator[Cluster]:
    """The cluster, well, and a client without cookies and with as many connections as it likes."""
    async with ClientSession(
        connector=TCPConnector(limit=0),
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=60),
    ) as session:
        found = Cluster(servers, session)
        await found.wait_until_ready()
        yield found

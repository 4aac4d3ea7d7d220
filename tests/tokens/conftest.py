"""Two nodes in one process, for tests that look inside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from tests.kit.databases import database_named, migrate_schema
from tests.kit.gates import GateClient, Stores, running_gate
from tests.kit.servers import Postgres, own_postgres
from tests.kit.tokens import subscribed


@pytest.fixture
async def nodes(cluster: Stores) -> AsyncIterator[list[GateClient]]:
    async with AsyncExitStack() as stack:
        yield [
            await subscribed(await stack.enter_async_context(running_gate(**cluster.settings)))
            for _ in range(2)
        ]


@pytest.fixture
def own_database() -> Iterator[Postgres]:
    """A PostgreSQL with the schema that a test may stop."""
    with own_postgres() as server:
        asyncio.run(migrate_schema(database_named(server.url, "postgres")))
        yield server

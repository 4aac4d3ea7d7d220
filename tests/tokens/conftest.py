"""Two nodes in one process, for tests that look inside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from tests.conftest import GateClient, Stores, _migrate, _named, running_gate
from tests.servers import Postgres, own_postgres
from tests.tokens.kit import live


@pytest.fixture
async def nodes(cluster: Stores) -> AsyncIterator[list[GateClient]]:
    async with AsyncExitStack() as stack:
        yield [
            await live(await stack.enter_async_context(running_gate(**cluster.settings)))
            for _ in range(2)
        ]


@pytest.fixture
def own_database() -> Iterator[Postgres]:
    """A PostgreSQL with the schema that a test may stop."""
    with own_postgres() as server:
        asyncio.run(_migrate(_named(server.url, "postgres")))
        yield server

"""Two nodes in one process, for tests that look inside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.conftest import GateClient, Stores, running_gate
from tests.tokens.kit import live


@pytest.fixture
async def nodes(cluster: Stores) -> AsyncIterator[list[GateClient]]:
    async with AsyncExitStack() as stack:
        yield [
            await live(await stack.enter_async_context(running_gate(**cluster.settings)))
            for _ in range(2)
        ]

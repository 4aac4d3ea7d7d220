"""Raw keep-alive connections, and one gate of each kind in front of the same upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.kit.proxy_gates import RunningGate
from tests.kit.raw_connections import Connect, RawConnection


@pytest.fixture
def fast_path() -> bool:
    """Gates of these tests have the fast path unless a test says otherwise."""
    return True


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens raw connections to a gate."""
    browsers: list[RawConnection] = []

    async def connect(gate: RunningGate) -> RawConnection:
        browser = RawConnection(*await asyncio.open_connection("127.0.0.1", gate.port))
        browsers.append(browser)
        return browser

    yield connect
    for browser in browsers:
        browser.close()

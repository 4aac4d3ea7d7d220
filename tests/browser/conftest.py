"""A real Chromium for the browser tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import (
    expect,
)

from tests.kit.account_site import PRICES, Site, site

expect.set_options(timeout=30_000)  # as long as a busy machine may need; no test waits in vain


@pytest.fixture
async def paid(sqlite_database: str, tmp_path: Path) -> AsyncIterator[Site]:
    """A site where tokens cost something."""
    async with site(tmp_path / "gate", sqlite_database, **PRICES) as found:
        yield found


@pytest.fixture
async def free(sqlite_database: str, tmp_path: Path) -> AsyncIterator[Site]:
    """A site where tokens cost nothing."""
    async with site(tmp_path / "gate", sqlite_database) as found:
        yield found


@pytest.fixture
async def free_at_prefix(sqlite_database: str, tmp_path: Path) -> AsyncIterator[Site]:
    """A free site whose browsers use the application on the gate's own origin."""
    async with site(tmp_path / "gate", sqlite_database, mount="prefix") as found:
        yield found


@pytest.fixture
async def paid_at_prefix(sqlite_database: str, tmp_path: Path) -> AsyncIterator[Site]:
    """The same for a site where tokens cost something."""
    async with site(tmp_path / "gate", sqlite_database, mount="prefix", **PRICES) as found:
        yield found


@pytest.fixture(params=["own-origin", "prefix"])
async def free_at_each_mount(
    request: pytest.FixtureRequest, sqlite_database: str, tmp_path: Path
) -> AsyncIterator[Site]:
    """A free site at each value of BROWSER_MOUNT."""
    async with site(tmp_path / "gate", sqlite_database, mount=request.param) as found:
        yield found

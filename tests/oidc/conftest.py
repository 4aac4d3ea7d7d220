"""Fixtures: an identity provider, and gates at which it is configured."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.kit.gates import SECRET_KEY, GateClient, running_gate
from tests.kit.identity_provider import MakeWithProvider, Provider, running_provider


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with running_provider() as running:
        yield running


@pytest.fixture
async def make(
    provider: Provider, sqlite_database: str, tmp_path: Path
) -> AsyncIterator[MakeWithProvider]:
    """Start the gate with the provider as ``company``, whose options the test may change."""
    async with AsyncExitStack() as stack:

        async def start(options: dict[str, Any] | None = None, **settings: Any) -> GateClient:
            gate = running_gate(
                secret_key=SECRET_KEY,
                data_dir=tmp_path / "gate",
                oidc_providers={"company": {**provider.options, **(options or {})}},
                **settings,
            )
            return await stack.enter_async_context(gate)

        yield start

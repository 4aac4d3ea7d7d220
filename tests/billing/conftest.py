"""A fake Stripe, and a gate that uses it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.kit.gates import SECRET_KEY, GateClient, running_gate
from tests.kit.stripe import STRIPE, FakeStripe


@pytest.fixture
async def fake_stripe() -> AsyncIterator[tuple[FakeStripe, str]]:
    """A server in place of Stripe's, and its URL."""
    stripe = FakeStripe()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", stripe.respond)
    async with TestServer(app) as server:
        yield stripe, str(server.make_url("/")).rstrip("/")


@pytest.fixture
async def stripe_gate(
    fake_stripe: tuple[FakeStripe, str], sqlite_database: str, tmp_path: Path
) -> AsyncIterator[GateClient]:
    """A gate on the embedded database: these tests do not depend on the database."""
    settings = {
        "secret_key": SECRET_KEY,
        "data_dir": tmp_path / "gate",
        "stripe_api_base": fake_stripe[1],
    }
    async with running_gate(**settings, **STRIPE) as gate:
        yield gate

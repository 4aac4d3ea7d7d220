"""kill -9 between any two statements of whatever moves money leaves all of it or nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.kit.billing_model import ACTS, BillingModel
from zenzefi.db.engine import Database

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def model(database: Database) -> BillingModel:
    """Some money, a token, a payment that is due and one that was credited and is spent."""
    made = BillingModel(database)
    await made.begin()
    await made.credit(Decimal("0.50"))
    await made.purchase(1)
    await made.open(Decimal("7.00"))
    await made.open(Decimal("8.00"))
    await made.receive_event("paid", 1)
    await made.purchase(12)
    return made


@pytest.fixture
async def victim(
    model: BillingModel, database_url: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.billing.crashing_process", database_url, str(model.user_id)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    yield process
    assert process.stdin is not None
    process.stdin.close()
    await process.wait()


async def test_a_program_killed_between_statements_leaves_all_or_nothing(
    model: BillingModel, victim: asyncio.subprocess.Process
) -> None:
    assert victim.stdin is not None
    assert victim.stdout is not None
    bundles = " ".join(map(str, model.bundle_ids))
    for name in ACTS:
        before = await model.state()
        for last in range(1, 60):
            victim.stdin.write(f"{name} {last} {bundles}\n".encode())
            ended = (await victim.stdout.readline()).decode().strip()
            if ended == "done":
                break
            assert ended == "killed", (name, last)
            assert await model.state() == before, (name, last)
        else:
            pytest.fail(f"{name} never ends")
        assert last > 3, f"{name} was not interrupted"
        assert await model.state() != before, name
        await model.check()

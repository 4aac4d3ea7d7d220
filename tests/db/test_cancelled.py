"""A request whose browser has left is cancelled, wherever it is: its connection is not lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import event, text

from zenzefi.db.engine import Database


@pytest.mark.parametrize("moment", ["connect", "checkout", "begin", "checkin"])
@pytest.mark.parametrize("kind", ["read", "begin"])
async def test_no_cancellation_loses_a_connection(
    database_url: str, kind: str, moment: str
) -> None:
    database = Database(database_url, pool_size=1)

    async def work() -> None:
        async with getattr(database, kind)() as connection:
            await connection.execute(text("SELECT 1"))

    task = asyncio.create_task(work())

    def leave(*_: Any) -> None:
        task.cancel()

    event.listen(database.engine.sync_engine, moment, leave)
    await asyncio.gather(task, return_exceptions=True)
    event.remove(database.engine.sync_engine, moment, leave)
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    await work()  # a pool with a lost connection would time out
    await database.close()

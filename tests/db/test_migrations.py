"""Migrations on both databases: up, down, up; no drift; safe at once; refusal of an old schema."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from zenzefi.accounts.models import users
from zenzefi.billing import repository, settlement
from zenzefi.billing.models import payments
from zenzefi.billing.providers.base import Event, Outcome
from zenzefi.db import migrate
from zenzefi.db.engine import Database
from zenzefi.resources import bundled
from zenzefi.tables import metadata


@pytest.fixture(params=["postgres", "sqlite"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("empty_postgres"))
    return f"sqlite+aiosqlite:///{tmp_path / 'empty.sqlite3'}"


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[Database]:
    database = Database(empty_url)
    yield database
    await database.close()


async def _tables(database: Database) -> set[str]:
    async with database.read() as connection:
        return set(await connection.run_sync(lambda c: inspect(c).get_table_names()))


async def test_up_from_empty_down_and_up_again(empty: Database) -> None:
    assert await migrate.current(empty) is None
    await migrate.upgrade(empty)
    assert await migrate.current(empty) == migrate.head()
    assert set(metadata.tables) <= await _tables(empty)

    await migrate.downgrade(empty, "base")
    assert await _tables(empty) == {"alembic_version"}

    await migrate.upgrade(empty)
    assert set(metadata.tables) <= await _tables(empty)


async def test_migrated_schema_is_the_one_of_the_models(empty: Database) -> None:
    await migrate.upgrade(empty)

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    async with empty.read() as connection:
        assert await connection.run_sync(differences) == []


async def test_programs_that_migrate_at_once_take_turns(empty: Database) -> None:
    others = [Database(empty.engine.url.render_as_string(hide_password=False)) for _ in range(4)]
    try:
        await asyncio.gather(*(migrate.upgrade(database) for database in others))
    finally:
        for database in others:
            await database.close()
    assert await migrate.current(empty) == migrate.head()


async def test_an_empty_database_is_refused_with_the_command_to_run(empty: Database) -> None:
    with pytest.raises(migrate.SchemaOutdated, match="Run: zenzefi migrate"):
        await migrate.ensure(empty, automatic=False)
    assert "users" not in await _tables(empty)


async def test_the_embedded_default_migrates_by_itself(empty: Database) -> None:
    await migrate.ensure(empty, automatic=True)
    assert await migrate.current(empty) == migrate.head()


async def test_a_newer_schema_is_refused_even_there(empty: Database) -> None:
    await migrate.upgrade(empty)
    async with empty.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(migrate.SchemaOutdated, match="newer than this program"):
        await migrate.ensure(empty, automatic=True)


def test_the_revisions_read_without_alembic_are_those_that_alembic_knows() -> None:
    scripts = ScriptDirectory(str(bundled("migrations")))
    assert migrate.head() == scripts.get_current_head()
    assert migrate.revisions() == {
        step.revision: step.down_revision for step in scripts.walk_revisions()
    }


async def test_payments_of_before_stand_as_they_stood(empty: Database) -> None:
    """The second migration writes events for what had been credited and reversed."""
    await migrate.upgrade(empty, "0001")
    user, paid, half, gone = (uuid4() for _ in range(4))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    async with empty.begin() as connection:
        await connection.execute(
            users.insert().values(
                id=user,
                **dict.fromkeys(("email", "email_key", "username", "username_key"), "old"),
                password_hash="none",
                currency_balance=Decimal("16.66"),
                ledger_seq=3,
            )
        )
        for number, (payment, status, back) in enumerate(
            ((paid, "succeeded", "0.00"), (half, "succeeded", "3.34"), (gone, "disputed", "10.00"))
        ):
            await connection.execute(
                payments.insert().values(
                    id=payment,
                    user_id=user,
                    provider="mock",
                    amount_znc=Decimal("10.00"),
                    amount_rub=Decimal("100.00"),
                    status=status,
                    charge=f"charge-{number}",
                    reversed_znc=Decimal(back),
                    credited_at=at,
                )
            )
    await migrate.upgrade(empty)
    async with empty.begin() as connection:
        for payment, left in ((paid, "0.00"), (half, "33.40"), (gone, "100.00")):
            stands = await settlement.state_of(
                connection, await repository.one(connection, payments.c.id == payment)
            )
            assert (stands.is_paid, str(stands.reversed_rub)) == (True, left)
        # The same event again, worded differently: nothing changes.
        again = Event("again", "refunded", Outcome.REFUNDED, gone, amount=Decimal("50.00"))
        assert await settlement.apply(connection, "mock", again) == "ignored: counted already"
    await migrate.downgrade(empty, "0001")
    await migrate.upgrade(empty)

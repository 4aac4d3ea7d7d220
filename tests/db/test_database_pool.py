"""The tests' own PostgreSQL databases: empty and unchanged whenever a test gets one."""

from __future__ import annotations

import asyncpg
import pytest

from tests.kit.databases import DatabasePool
from tests.kit.waiting import until

_TRANSACTION = """
WITH owner AS (
  INSERT INTO users (id, email, email_key, username, username_key, password_hash, created_at,
    updated_at) VALUES (gen_random_uuid(), 'a', 'a', 'a', 'a', '', now(), now()) RETURNING id)
INSERT INTO transactions (id, user_id, seq, amount, balance_after, transaction_type, description,
  created_at) SELECT gen_random_uuid(), id, 1, 1, 1, 'bonus', '', now() FROM owner
"""


@pytest.fixture
async def pool(postgres_url: str, _postgres_template: str) -> DatabasePool:
    return DatabasePool(postgres_url, _postgres_template)


async def test_a_database_is_used_again_without_its_rows_and_connections(
    pool: DatabasePool,
) -> None:
    name = await pool.take()
    left_open = await pool.connect(name)
    await left_open.execute(_TRANSACTION)
    await pool.give_back(name)
    assert await pool.take() == name
    await until(left_open.is_closed)
    connection = await pool.connect(name)
    assert await connection.fetchval("SELECT count(*) FROM transactions") == 0
    assert await connection.fetchval("SELECT count(*) FROM alembic_version") == 1
    await connection.close()


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE extra (id int)",
        "ALTER TABLE transactions DISABLE TRIGGER ALL",
        "ALTER TABLE users ADD extra int",
        "GRANT SELECT ON users TO pg_monitor",
        "UPDATE alembic_version SET version_num = 'later'",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''8MB''', "
        "current_database()); END $$",
    ],
)
async def test_a_changed_database_is_dropped(pool: DatabasePool, change: str) -> None:
    name = await pool.take()
    connection = await pool.connect(name)
    await connection.execute(change)
    await connection.close()
    await pool.give_back(name)
    assert await pool.take() != name
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await pool.connect(name)

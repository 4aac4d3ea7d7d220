"""Databases of one test: created, migrated, emptied and dropped on a running PostgreSQL."""

from __future__ import annotations

import secrets

import asyncpg
from sqlalchemy.engine import make_url

from zenzefi.db import migrate
from zenzefi.db.engine import Database


async def administer(url: str, *statements: str) -> None:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(plain)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def migrate_schema(url: str) -> None:
    database = Database(url)
    try:
        await migrate.upgrade(database)
    finally:
        await database.close()


def database_named(url: str, database: str) -> str:
    parsed = make_url(url).set(drivername="postgresql+asyncpg", database=database)
    return parsed.render_as_string(hide_password=False)


_FINGERPRINT = """
SELECT (SELECT string_agg(version_num, ',') FROM alembic_version),
  (SELECT string_agg(s::text, ',') FROM pg_db_role_setting s JOIN pg_database d
    ON d.oid = s.setdatabase WHERE d.datname = current_database()),
  (SELECT array_agg((n, last) ORDER BY of) FROM (
    SELECT 1 AS of, count(*) AS n, max(xmin::text::bigint) AS last FROM pg_class
    UNION ALL SELECT 2, count(*), max(xmin::text::bigint) FROM pg_attribute
    UNION ALL SELECT 3, count(*), max(xmin::text::bigint) FROM pg_constraint
    UNION ALL SELECT 4, count(*), max(xmin::text::bigint) FROM pg_trigger
    UNION ALL SELECT 5, count(*), max(xmin::text::bigint) FROM pg_proc
    UNION ALL SELECT 6, count(*), max(xmin::text::bigint) FROM pg_namespace) AS catalogs)::text
"""
"""The schema version, the settings of the database, and the last change of each catalog."""
_DISCONNECT = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_TABLES = """
SELECT string_agg(format('DELETE FROM %I;', tablename), ' ') FROM pg_tables
WHERE schemaname = 'public' AND tablename <> 'alembic_version'
"""


class DatabasePool:
    """Databases with the schema and no rows, copied from ``template`` and used again.

    A copy takes PostgreSQL a third of a second of processor time, emptying the tables a hundredth.
    A database whose schema or settings a test has changed is dropped instead.
    """

    def __init__(self, server_url: str, template: str) -> None:
        self._server_url = server_url
        self._template = template
        self._free: list[str] = []
        self._fingerprints: dict[str, asyncpg.Record] = {}

    async def take(self) -> str:
        """The name of an empty database that no other test uses."""
        if self._free:
            return self._free.pop()
        name = f"zz_{secrets.token_hex(6)}"
        await administer(self._server_url, f'CREATE DATABASE "{name}" TEMPLATE "{self._template}"')
        connection = await self.connect(name)
        self._fingerprints[name] = await connection.fetchrow(_FINGERPRINT)
        await connection.close()
        return name

    async def give_back(self, name: str) -> None:
        """Disconnect everyone and delete all rows; drop the database if it is not as it was."""
        connection = await self.connect(name)
        try:
            await connection.execute(_DISCONNECT)
            is_unchanged = await connection.fetchrow(_FINGERPRINT) == self._fingerprints[name]
            if is_unchanged:
                # Without triggers: they enforce that some tables are append-only.
                await connection.execute("SET session_replication_role = replica")
                await connection.execute(await connection.fetchval(_TABLES))
        finally:
            await connection.close()
        if is_unchanged:
            self._free.append(name)
        else:
            await administer(self._server_url, f'DROP DATABASE "{name}" WITH (FORCE)')

    async def connect(self, name: str) -> asyncpg.Connection:
        """A connection to one of the databases, to be closed by the caller."""
        plain = make_url(self._server_url).set(drivername="postgresql", database=name)
        return await asyncpg.connect(plain.render_as_string(hide_password=False))

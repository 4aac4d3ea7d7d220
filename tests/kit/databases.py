"""Databases of one test: created, migrated and dropped on a running PostgreSQL."""

from __future__ import annotations

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

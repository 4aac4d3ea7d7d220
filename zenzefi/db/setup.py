"""Set up the database of an application."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from zenzefi.db import migrate
from zenzefi.db.engine import DATABASE, Database
from zenzefi.settings import SETTINGS


def setup(app: web.Application) -> None:
    """Provide the database; at startup, verify the schema (migrate only the embedded default)."""
    settings = app[SETTINGS]
    database = Database(settings.sqlalchemy_url, pool_size=settings.database_pool_size)
    app[DATABASE] = database

    async def life(_: web.Application) -> AsyncIterator[None]:
        try:
            await migrate.ensure(database, automatic=settings.is_embedded)
            yield
        finally:
            await database.close()

    app.cleanup_ctx.append(life)

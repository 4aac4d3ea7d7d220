"""Mount money on an application."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from zenzefi.api import routing
from zenzefi.billing import views
from zenzefi.billing.payments import PAYMENTS, Payments
from zenzefi.billing.providers.load import load_providers
from zenzefi.billing.statement import STATEMENTS, Statements
from zenzefi.db.engine import DATABASE
from zenzefi.settings import SETTINGS


def setup(app: web.Application) -> None:
    """The calls and their services; the database and the keyring are there already.

    Raises ``SettingsError`` for a payment provider that can't be used.
    """
    settings, database = app[SETTINGS], app[DATABASE]
    providers = load_providers(settings)
    app[STATEMENTS] = Statements(database)
    app[PAYMENTS] = Payments(settings, database, providers)
    routing.setup(app, views.routes)

    async def life(_: web.Application) -> AsyncIterator[None]:
        yield
        for provider in providers.values():
            await provider.close()

    app.cleanup_ctx.append(life)

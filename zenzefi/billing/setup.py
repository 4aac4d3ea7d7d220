"""Set up billing on an application."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from zenzefi.api import routing
from zenzefi.billing import views
from zenzefi.billing.payment_search import PAYMENT_SEARCH, PaymentSearch
from zenzefi.billing.payments import PAYMENTS, Payments
from zenzefi.billing.providers.load import load_providers
from zenzefi.billing.statement import STATEMENTS, Statements
from zenzefi.db.engine import DATABASE
from zenzefi.settings import SETTINGS


def setup(app: web.Application) -> None:
    """Provide the services and mount the API; requires the database.

    Raises ``SettingsError`` for payment providers that can't be loaded.
    """
    settings, database = app[SETTINGS], app[DATABASE]
    providers = load_providers(settings)
    app[STATEMENTS] = Statements(database)
    app[PAYMENT_SEARCH] = PaymentSearch(app[DATABASE])
    app[PAYMENTS] = Payments(settings, database, providers)
    routing.setup(app, views.routes)

    async def life(_: web.Application) -> AsyncIterator[None]:
        yield
        for provider in providers.values():
            await provider.close()

    app.cleanup_ctx.append(life)

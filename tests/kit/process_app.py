"""An application with only the running process: reload, drain, health, jobs, observation."""

from collections.abc import Callable
from typing import cast

from aiohttp import web

from zenzefi.db.engine import DATABASE, Database
from zenzefi.http import observation, request_id
from zenzefi.http.error_responses import errors_middleware
from zenzefi.http.observation import observation_middleware
from zenzefi.http.request_id import request_id_middleware
from zenzefi.keys import KEYRING, Keyring
from zenzefi.maintenance import housekeeping
from zenzefi.observability import tracing
from zenzefi.runtime import setup as runtime
from zenzefi.settings import SETTINGS, Settings
from zenzefi.tokens.orders import ORDERS, Orders
from zenzefi.tokens.renewals import RENEWALS, Renewals

MakeApp = Callable[..., web.Application]


class NoOrders:
    """In place of the orders: this application sells nothing."""

    async def complete_credited(self) -> None:
        """There are none."""


class NoRenewals:
    """In place of the renewals."""

    async def renew_ended(self) -> None:
        """There are none."""


def process_app(settings: Settings, database_url: str) -> web.Application:
    """The application, with its own connections to a real database."""
    app = web.Application(
        middlewares=[request_id_middleware, observation_middleware, errors_middleware]
    )
    app[SETTINGS] = settings
    app[KEYRING] = Keyring.of(settings)
    app[ORDERS] = cast(Orders, NoOrders())
    app[RENEWALS] = cast(Renewals, NoRenewals())
    database = app[DATABASE] = Database(database_url)

    async def closing(_: web.Application) -> None:
        await database.close()

    app.on_cleanup.append(closing)
    request_id.setup(app)
    tracing.setup(app)
    observation.setup(app)
    runtime.setup(app)
    housekeeping.setup(app)
    return app

"""Set up personal data on an application."""

from __future__ import annotations

from aiohttp import web

from zenzefi.admin.service import ADMINISTRATION
from zenzefi.api import routing
from zenzefi.db.engine import DATABASE
from zenzefi.personal_data import views
from zenzefi.personal_data.deletion import DELETIONS, Deletions
from zenzefi.personal_data.export import EXPORTS, Exports
from zenzefi.tokens.sign_ins import SIGN_INS


def setup(app: web.Application) -> None:
    """Provide the services and mount the API; requires tokens and administration."""
    app[EXPORTS] = Exports(app[DATABASE])
    app[DELETIONS] = Deletions(app[DATABASE], app[ADMINISTRATION], app[SIGN_INS])
    routing.setup(app, views.routes, views.admin_routes)

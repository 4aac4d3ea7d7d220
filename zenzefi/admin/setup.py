"""Set up administration on an application."""

from __future__ import annotations

from aiohttp import web

from zenzefi.admin import views
from zenzefi.admin.service import ADMINISTRATION, Administration
from zenzefi.api import routing
from zenzefi.audit.reading import AUDIT_LOG, AuditLog
from zenzefi.db.engine import DATABASE
from zenzefi.tokens.service import TOKENS


def setup(app: web.Application) -> None:
    """Provide the services and mount the API; requires accounts, tokens and billing."""
    app[ADMINISTRATION] = Administration(app[DATABASE], app[TOKENS])
    app[AUDIT_LOG] = AuditLog(app[DATABASE])
    routing.setup(app, views.routes)

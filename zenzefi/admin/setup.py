"""Set up administration on an application."""

from __future__ import annotations

from aiohttp import web

from zenzefi.accounts.links import LINKS
from zenzefi.admin import (
    api_key_views,
    help_views,
    invitation_views,
    promo_views,
    report_views,
    views,
)
from zenzefi.admin.customer_help import CUSTOMER_HELP, CustomerHelp
from zenzefi.admin.reports import REPORTS, Reports
from zenzefi.admin.service import ADMINISTRATION, Administration
from zenzefi.api import routing
from zenzefi.audit.reading import AUDIT_LOG, AuditLog
from zenzefi.db.engine import DATABASE
from zenzefi.tokens.service import TOKENS
from zenzefi.tokens.sign_ins import SIGN_INS


def setup(app: web.Application) -> None:
    """Provide the services and mount the API; requires accounts, tokens and billing."""
    app[ADMINISTRATION] = Administration(app[DATABASE], app[TOKENS])
    app[CUSTOMER_HELP] = CustomerHelp(app[DATABASE], app[LINKS], app[TOKENS], app[SIGN_INS])
    app[REPORTS] = Reports(app[DATABASE])
    app[AUDIT_LOG] = AuditLog(app[DATABASE])
    routing.setup(
        app,
        views.routes,
        help_views.routes,
        invitation_views.routes,
        promo_views.routes,
        report_views.routes,
        api_key_views.routes,
    )

"""Setup of the pages."""

from __future__ import annotations

import aiohttp_jinja2
from aiohttp import web

from zenzefi.accounts.service import ON_PASSWORD_CHANGE
from zenzefi.admin.overview import OVERVIEWS, Overviews
from zenzefi.db.engine import DATABASE
from zenzefi.http.error_responses import ERROR_PAGE_TEXT
from zenzefi.settings import SETTINGS
from zenzefi.web import (
    administration,
    assets,
    audit,
    buying,
    checkout,
    email_confirmation,
    error_pages,
    isolation,
    money,
    notices,
    offers,
    password_reset,
    profile,
    public,
    security_notices,
    templating,
    tokens,
    two_factor,
    users,
)
from zenzefi.web.routing import FORM_TARGETS


def setup(app: web.Application) -> None:
    """Add the pages and static files; requires templates, database, keyring and domains."""
    settings = app[SETTINGS]
    app[OVERVIEWS] = Overviews(app[DATABASE])
    app[ERROR_PAGE_TEXT] = error_pages.page_text
    isolation.setup(app)
    app[ON_PASSWORD_CHANGE].append(security_notices.password_changed)
    # Chromium applies form-action to redirects after a form as well, and the form that opens the
    # application redirects to the upstream's own origin.
    own = settings.own_origin
    app[FORM_TARGETS] = [] if own is None else [str(own)]
    app[assets.ASSETS] = assets.Assets()
    templating.prepare(aiohttp_jinja2.get_env(app), app[assets.ASSETS], settings)
    app.router.add_get(assets.PREFIX + "/{name}", app[assets.ASSETS].serve)
    app.router.add_get("/", public.root, allow_head=True)
    for table in (
        public.routes,
        email_confirmation.routes,
        password_reset.routes,
        two_factor.routes,
        tokens.routes,
        buying.routes,
        checkout.routes,
        money.routes,
        notices.routes,
        administration.routes,
        users.routes,
        offers.routes,
        audit.routes,
        profile.routes,
    ):
        table.mount(app)

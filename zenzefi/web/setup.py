"""Setup of the pages."""

from __future__ import annotations

import aiohttp_jinja2
from aiohttp import web

from zenzefi.accounts.api_key_views import ON_API_KEY
from zenzefi.accounts.registration import ON_REGISTER
from zenzefi.accounts.service import ON_PASSWORD_CHANGE
from zenzefi.admin.overview import OVERVIEWS, Overviews
from zenzefi.admin.service import ADMINISTRATION
from zenzefi.branding import BRAND
from zenzefi.db.engine import DATABASE
from zenzefi.http.error_responses import ERROR_PAGE_TEXT
from zenzefi.oidc.logout import LOGOUTS, ProviderLogouts
from zenzefi.oidc.roles import PROVIDER_ROLES, ProviderRoles
from zenzefi.settings import SETTINGS
from zenzefi.tokens.sign_ins import SIGN_INS
from zenzefi.tokens.validation import TOKEN_VALIDATOR
from zenzefi.web import (
    administration,
    api_keys,
    api_reference,
    assets,
    audit,
    buying,
    checkout,
    connect,
    customer_help,
    email_confirmation,
    error_pages,
    invitations,
    isolation,
    legal,
    money,
    my_data,
    notices,
    offers,
    password_reset,
    payments,
    profile,
    promo_codes,
    provider_sign_in,
    public,
    registration_steps,
    reports,
    security_notices,
    templating,
    token_list,
    tokens,
    two_factor,
    two_step_reset,
    usage,
    users,
)
from zenzefi.web.routing import FORM_TARGETS


def setup(app: web.Application) -> None:
    """Add the pages and static files; requires templates, database, keyring and domains."""
    settings = app[SETTINGS]
    app[OVERVIEWS] = Overviews(app[DATABASE])
    app[ERROR_PAGE_TEXT] = error_pages.page_text
    isolation.setup(app)
    app[PROVIDER_ROLES] = ProviderRoles(app[DATABASE], app[ADMINISTRATION])
    app[LOGOUTS] = ProviderLogouts(app[DATABASE], app[SIGN_INS], app[TOKEN_VALIDATOR])
    app[ON_REGISTER].append(email_confirmation.send_confirmation)
    app[ON_PASSWORD_CHANGE].append(security_notices.password_changed)
    app[ON_API_KEY].append(security_notices.api_key_created)
    # Chromium applies form-action to redirects after a form as well, and the form that opens the
    # application redirects to the upstream's own origin.
    own = settings.own_origin
    app[FORM_TARGETS] = [] if own is None else [str(own)]
    app[assets.ASSETS] = assets.Assets(brand=app[BRAND])
    templating.prepare(aiohttp_jinja2.get_env(app), app[assets.ASSETS], settings)
    app.router.add_get(assets.PREFIX + "/{name}", app[assets.ASSETS].serve)
    app.router.add_get("/", public.root, allow_head=True)
    app.router.add_post("/login/with/{provider}/logout", provider_sign_in.back_channel_logout)
    api_reference.mount(app)
    for table in (
        public.routes,
        legal.routes,
        registration_steps.routes,
        invitations.routes,
        email_confirmation.routes,
        password_reset.routes,
        two_factor.routes,
        token_list.routes,
        tokens.routes,
        usage.routes,
        buying.routes,
        checkout.routes,
        connect.routes,
        money.routes,
        notices.routes,
        administration.routes,
        payments.routes,
        reports.routes,
        users.routes,
        offers.routes,
        promo_codes.routes,
        customer_help.routes,
        two_step_reset.routes,
        audit.routes,
        profile.routes,
        provider_sign_in.routes,
        my_data.routes,
        api_keys.routes,
    ):
        table.mount(app)

"""The composition root: the only module that knows all parts and connects them."""

from __future__ import annotations

import aiohttp_jinja2
import jinja2
from aiohttp import web

import zenzefi.accounts.setup
import zenzefi.admin.setup
import zenzefi.api.docs
import zenzefi.billing.setup
import zenzefi.db.setup
import zenzefi.mail.setup
import zenzefi.oidc.setup
import zenzefi.personal_data.setup
import zenzefi.tokens.setup
from zenzefi import i18n
from zenzefi.api.idempotency import IDEMPOTENCY, Idempotency
from zenzefi.branding import BRAND, load_brand
from zenzefi.db.engine import DATABASE
from zenzefi.http import (
    cookie_reset,
    ignored_forwarding,
    observation,
    request_id,
    server_header,
)
from zenzefi.http.client_address import client_address_middleware
from zenzefi.http.cors import cors_middleware
from zenzefi.http.error_responses import errors_middleware
from zenzefi.http.expect_continue import expectation_middleware
from zenzefi.http.ignored_forwarding import ignored_forwarding_middleware
from zenzefi.http.observation import observation_middleware
from zenzefi.http.request_id import request_id_middleware
from zenzefi.http.service_workers import service_workers_middleware
from zenzefi.http.validation import validation_middleware
from zenzefi.keys import KEYRING, Keyring
from zenzefi.maintenance import housekeeping
from zenzefi.observability import tracing
from zenzefi.proxy import interfaces
from zenzefi.proxy import setup as proxy
from zenzefi.proxy.setup import own_origin_middleware, unmounted_requests_middleware
from zenzefi.rate_limits import middleware as rate_limits
from zenzefi.rate_limits.middleware import rate_limits_middleware
from zenzefi.resources import bundled
from zenzefi.runtime import setup as runtime
from zenzefi.runtime.health import recheck_middleware
from zenzefi.settings import SETTINGS, Settings
from zenzefi.tokens.devices import DEVICES
from zenzefi.tokens.sessions import SESSION_TRACKER
from zenzefi.tokens.sign_ins import SIGN_INS
from zenzefi.tokens.validation import TOKEN_VALIDATOR
from zenzefi.web import setup as web_pages

_MAX_API_BODY = 1024 * 1024  # bytes; proxied bodies are streamed and have no such limit


def create_app(settings: Settings) -> web.Application:
    """Create the application of one gate. Connections are opened when it starts, not here.

    Requests pass the middlewares in the order of the list.
    """
    app = web.Application(
        middlewares=[
            request_id_middleware,
            observation_middleware,
            cors_middleware,
            errors_middleware,
            recheck_middleware,
            validation_middleware,
            client_address_middleware,
            ignored_forwarding_middleware,
            own_origin_middleware,
            service_workers_middleware,
            unmounted_requests_middleware,
            rate_limits_middleware,
            expectation_middleware,
        ],
        client_max_size=_MAX_API_BODY,
    )
    app[SETTINGS] = settings
    app[KEYRING] = Keyring.of(settings)
    app[BRAND] = load_brand(settings)
    request_id.setup(app)
    server_header.setup(app)
    environment = aiohttp_jinja2.setup(
        app,
        loader=jinja2.FileSystemLoader(bundled("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    i18n.install(environment)
    environment.globals["brand"] = app[BRAND]
    # Each part may use the earlier ones, and is cleaned up before them.
    cookie_reset.setup(app)
    ignored_forwarding.setup(app)
    zenzefi.db.setup.setup(app)
    tracing.setup(app)
    observation.setup(app)
    runtime.setup(app)
    rate_limits.setup(app)
    zenzefi.mail.setup.setup(app)
    app[IDEMPOTENCY] = Idempotency(app[DATABASE], app[KEYRING])
    zenzefi.accounts.setup.setup(app)
    zenzefi.oidc.setup.setup(app)
    zenzefi.billing.setup.setup(app)
    zenzefi.tokens.setup.setup(app)
    zenzefi.admin.setup.setup(app)
    zenzefi.personal_data.setup.setup(app)
    housekeeping.setup(app)
    app[interfaces.TOKEN_VALIDATOR] = app[TOKEN_VALIDATOR]
    app[interfaces.SIGN_INS] = app[SIGN_INS]
    app[interfaces.DEVICE_CLAIMS] = app[DEVICES]
    app[interfaces.SESSION_TRACKING] = app[SESSION_TRACKER]
    proxy.setup(app)
    web_pages.setup(app)
    zenzefi.api.docs.setup(app)
    return app

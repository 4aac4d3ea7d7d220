"""Set up access tokens in an application."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from zenzefi.api import routing
from zenzefi.billing.payments import PAYMENTS
from zenzefi.db.engine import DATABASE
from zenzefi.keys import KEYRING
from zenzefi.runtime.reload import ON_RELOAD
from zenzefi.settings import SETTINGS, Settings
from zenzefi.tokens import bundle_views, offer_views, order_views, renewal_views, views
from zenzefi.tokens.bundles import BUNDLES, Bundles
from zenzefi.tokens.devices import DEVICES, Devices
from zenzefi.tokens.orders import ORDERS, Orders
from zenzefi.tokens.promo_codes import PROMO_CODES, PromoCodes
from zenzefi.tokens.redis_cache import RedisCache
from zenzefi.tokens.renewals import RENEWALS, Renewals
from zenzefi.tokens.scopes import Scopes
from zenzefi.tokens.service import TOKENS, Tokens
from zenzefi.tokens.session_queries import SESSION_QUERIES, SessionQueries
from zenzefi.tokens.sessions import SESSION_TRACKER, SessionTracker
from zenzefi.tokens.sign_ins import SIGN_INS, BrowserSignIns
from zenzefi.tokens.token_search import TOKEN_SEARCH, TokenSearch
from zenzefi.tokens.validation import TOKEN_VALIDATOR, TokenValidator

REDIS_CACHE: web.AppKey[RedisCache] = web.AppKey("redis_cache", RedisCache)
SCOPES: web.AppKey[Scopes] = web.AppKey("scopes", Scopes)


def setup(app: web.Application) -> None:
    """Add the services and endpoints. Settings, database, keyring and billing must be in ``app``.

    The background tasks run from the start of the application to its cleanup.
    """
    settings, database, keyring = app[SETTINGS], app[DATABASE], app[KEYRING]
    redis_cache = None if settings.redis_dsn is None else RedisCache(settings.redis_dsn)
    if redis_cache is not None:
        app[REDIS_CACHE] = redis_cache
    app[SCOPES] = Scopes(settings.scopes)

    async def declare(changed: Settings) -> None:
        app[SCOPES].declare(changed.scopes)

    app[ON_RELOAD].append(declare)
    token_validator = app[TOKEN_VALIDATOR] = TokenValidator(database, keyring, redis_cache)
    devices = app[DEVICES] = Devices(
        settings.device_policy, database, keyring, token_validator, redis_cache
    )
    session_tracker = app[SESSION_TRACKER] = SessionTracker(database, token_validator, devices)
    app[SESSION_QUERIES] = SessionQueries(database, token_validator.clock)
    sign_ins = app[SIGN_INS] = BrowserSignIns(database, keyring, token_validator, redis_cache)
    app[TOKENS] = Tokens(settings, database, keyring, token_validator, app[SCOPES])
    app[TOKEN_SEARCH] = TokenSearch(database, keyring)
    app[BUNDLES] = Bundles(settings, database, keyring)
    app[ORDERS] = Orders(database, app[TOKENS], app[BUNDLES], app[PAYMENTS])
    app[PROMO_CODES] = PromoCodes(database, app[TOKENS])
    app[RENEWALS] = Renewals(database, app[TOKENS])
    app[PAYMENTS].on_credit.append(app[ORDERS].complete)
    routing.setup(
        app,
        views.routes,
        renewal_views.routes,
        bundle_views.routes,
        offer_views.routes,
        order_views.routes,
    )

    async def background_work(_: web.Application) -> AsyncIterator[None]:
        try:
            async with (
                token_validator.running(),
                devices.running(),
                session_tracker.running(),
                sign_ins.running(),
            ):
                yield
        finally:
            if redis_cache is not None:
                await redis_cache.close()

    app.cleanup_ctx.append(background_work)

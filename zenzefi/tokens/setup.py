"""Mount access tokens on an application."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from zenzefi.api import routing
from zenzefi.db.engine import DATABASE
from zenzefi.keys import KEYRING
from zenzefi.runtime.reload import ON_RELOAD
from zenzefi.settings import SETTINGS, Settings
from zenzefi.tokens import bundle_views, views
from zenzefi.tokens.bundles import BUNDLES, Bundles
from zenzefi.tokens.devices import DEVICES, Devices
from zenzefi.tokens.redis_cache import RedisCache
from zenzefi.tokens.scopes import Scopes
from zenzefi.tokens.service import TOKENS, Tokens
from zenzefi.tokens.sessions import SESSION_TRACKER, SessionTracker
from zenzefi.tokens.sign_ins import SIGN_INS, BrowserSignIns
from zenzefi.tokens.validation import TOKEN_VALIDATOR, TokenValidator

REDIS_CACHE: web.AppKey[RedisCache] = web.AppKey("shared", RedisCache)
SCOPES: web.AppKey[Scopes] = web.AppKey("scopes", Scopes)


def setup(app: web.Application) -> None:
    """The calls, the validator and its tasks; the database and the keyring are there already."""
    settings, database, keyring = app[SETTINGS], app[DATABASE], app[KEYRING]
    redis_cache = None if settings.redis_dsn is None else RedisCache(settings.redis_dsn)
    token_validator = TokenValidator(database, keyring, redis_cache)
    if redis_cache is not None:
        app[REDIS_CACHE] = redis_cache
    app[SCOPES] = Scopes(settings.scopes)
    app[TOKEN_VALIDATOR] = token_validator

    async def declare(changed: Settings) -> None:
        app[SCOPES].declare(changed.scopes)

    app[ON_RELOAD].append(declare)
    devices = app[DEVICES] = Devices(
        settings.device_policy, database, keyring, token_validator, redis_cache
    )
    usage = app[SESSION_TRACKER] = SessionTracker(database, token_validator, devices)
    sign_ins = app[SIGN_INS] = BrowserSignIns(database, keyring, token_validator, redis_cache)
    app[TOKENS] = Tokens(settings, database, keyring, token_validator, app[SCOPES])
    app[BUNDLES] = Bundles(settings, database, keyring)
    routing.setup(app, views.routes, bundle_views.routes)

    async def life(_: web.Application) -> AsyncIterator[None]:
        try:
            async with (
                token_validator.running(),
                devices.running(),
                usage.running(),
                sign_ins.running(),
            ):
                yield
        finally:
            if redis_cache is not None:
                await redis_cache.close()

    app.cleanup_ctx.append(life)

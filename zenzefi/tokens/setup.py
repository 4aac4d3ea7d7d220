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
from zenzefi.tokens.redis_cache import Shared
from zenzefi.tokens.scopes import Scopes
from zenzefi.tokens.service import TOKENS, Tokens
from zenzefi.tokens.sessions import USAGE, Usage
from zenzefi.tokens.sign_ins import SIGN_INS, SignIns
from zenzefi.tokens.validation import GATEKEEPER, Gatekeeper

SHARED: web.AppKey[Shared] = web.AppKey("shared", Shared)
SCOPES: web.AppKey[Scopes] = web.AppKey("scopes", Scopes)


def setup(app: web.Application) -> None:
    """The calls, the gatekeeper and its tasks; the database and the keyring are there already."""
    settings, database, keyring = app[SETTINGS], app[DATABASE], app[KEYRING]
    shared = None if settings.redis_dsn is None else Shared(settings.redis_dsn)
    gatekeeper = Gatekeeper(database, keyring, shared)
    if shared is not None:
        app[SHARED] = shared
    app[SCOPES] = Scopes(settings.scopes)
    app[GATEKEEPER] = gatekeeper

    async def declare(changed: Settings) -> None:
        app[SCOPES].declare(changed.scopes)

    app[ON_RELOAD].append(declare)
    devices = app[DEVICES] = Devices(settings.device_policy, database, keyring, gatekeeper, shared)
    usage = app[USAGE] = Usage(database, gatekeeper, devices)
    sign_ins = app[SIGN_INS] = SignIns(database, keyring, gatekeeper, shared)
    app[TOKENS] = Tokens(settings, database, keyring, gatekeeper, app[SCOPES])
    app[BUNDLES] = Bundles(settings, database, keyring)
    routing.setup(app, views.routes, bundle_views.routes)

    async def life(_: web.Application) -> AsyncIterator[None]:
        try:
            async with (
                gatekeeper.running(),
                devices.running(),
                usage.running(),
                sign_ins.running(),
            ):
                yield
        finally:
            if shared is not None:
                await shared.close()

    app.cleanup_ctx.append(life)

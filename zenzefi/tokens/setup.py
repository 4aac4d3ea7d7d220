"""Mount access tokens on an application."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from zenzefi.api import routing
from zenzefi.config import SETTINGS, Settings
from zenzefi.db.engine import DATABASE
from zenzefi.keys import KEYRING
from zenzefi.ops.reload import ON_RELOAD
from zenzefi.tokens import views
from zenzefi.tokens.devices import DEVICES, Devices
from zenzefi.tokens.gatekeeper import GATEKEEPER, Gatekeeper
from zenzefi.tokens.scopes import Scopes
from zenzefi.tokens.service import TOKENS, Tokens
from zenzefi.tokens.shared import Shared
from zenzefi.tokens.sign_ins import SIGN_INS, SignIns
from zenzefi.tokens.usage import USAGE, Usage

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
    routing.setup(app, views.routes)

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

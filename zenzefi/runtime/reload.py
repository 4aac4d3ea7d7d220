"""SIGHUP reloads prices, scopes, rate limits and plugins without a restart.

The settings are read again. If any of them is invalid, nothing changes and the mistakes are logged.
Settings that can't change in a running process (addresses, databases, keys) keep their values until
the next start, and the log names those that differ from the start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from zenzefi.settings import (
    SETTINGS,
    Settings,
    SettingsError,
    free_access,
    load_settings,
    unknown_settings,
)

log = logging.getLogger(__name__)

RELOADABLE = (
    "token_price_1h",
    "token_price_12h",
    "token_price_24h",
    "token_price_7d",
    "token_price_30d",
    "token_prices",
    "scope_prices",
    "scope_texts",
    "free_for_all",
    "registration",
    "registration_domains",
    "require_confirmed_address",
    "terms_version",
    "scopes",
    "plugins_disabled",
    "plugin_options",
    "rate_limit_login",
    "rate_limit_login_address",
    "rate_limit_login_account",
    "rate_limit_code",
    "rate_limit_code_account",
    "rate_limit_register",
    "rate_limit_api",
    "rate_limit_release",
    "rate_limit_proxy",
    "rate_limit_websocket_messages",
    "rate_limit_websocket_bytes",
    "log_level",
)
"""The settings that take effect on SIGHUP."""

Hook = Callable[[Settings], Awaitable[None]]
ON_RELOAD: web.AppKey[list[Hook]] = web.AppKey("on_reload", list)
"""Called with the changed settings, for parts that keep derived values. If a hook raises
``SettingsError``, all changes are reverted."""


def setup(app: web.Application) -> None:
    """Add the list of hooks to the application; parts append theirs before it starts."""
    app[ON_RELOAD] = []


async def reload(app: web.Application, started_with: Settings | None = None) -> list[str]:
    """Read the settings again and apply the reloadable ones; return the names of changed ones.

    ``started_with``: the settings as they were read at the start. Others of them that have changed
    are logged, because they need a restart.
    """
    try:
        fresh = await asyncio.to_thread(load_settings)
    except SettingsError as error:
        log.error("settings not reloaded", extra={"problems": error.problems})
        return []
    problem = free_access.problem(fresh)
    if problem is not None and free_access.problem(app[SETTINGS]) is None:
        log.error("settings not reloaded", extra={"problems": [problem]})
        return []
    current = app[SETTINGS]
    changed = [name for name in RELOADABLE if getattr(fresh, name) != getattr(current, name)]
    before = current.model_copy()
    try:
        await _apply(app, changed, fresh)
    except SettingsError as error:
        log.error("settings not reloaded", extra={"problems": error.problems})
        with contextlib.suppress(SettingsError):  # a file may still be invalid
            await _apply(app, changed, before)
        return []
    waiting = [] if started_with is None else _need_restart(started_with, fresh)
    unknown = await asyncio.to_thread(unknown_settings)
    log.log(
        logging.WARNING if waiting or unknown else logging.INFO,
        "settings reloaded",
        extra={"changed": changed, "needs_restart": waiting, "unknown": unknown},
    )
    return changed


def _need_restart(started_with: Settings, fresh: Settings) -> list[str]:
    """The settings that have other values now and can't be reloaded."""
    return sorted(
        name
        for name in Settings.model_fields.keys() - set(RELOADABLE)
        if getattr(fresh, name) != getattr(started_with, name)
    )


async def _apply(app: web.Application, names: Iterable[str], values: Settings) -> None:
    current = app[SETTINGS]
    for name in names:
        setattr(current, name, getattr(values, name))
    logging.getLogger().setLevel(current.log_level)
    for hook in app[ON_RELOAD]:
        await hook(current)

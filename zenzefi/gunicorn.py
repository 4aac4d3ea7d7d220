"""The gate under gunicorn, for those who run everything under it:

    gunicorn -c deploy/gunicorn.conf.py zenzefi.gunicorn:gate

``zenzefi serve --workers N`` does the same without it; run ``zenzefi migrate`` first.
"""

from __future__ import annotations

import logging
import sys
from typing import NoReturn

from aiohttp import web

from zenzefi.app import create_app
from zenzefi.config import Settings, SettingsError, load_settings
from zenzefi.db import migrate
from zenzefi.db.engine import Database
from zenzefi.errors import DatabaseUnavailable
from zenzefi.ops import logs
from zenzefi.ops.checks import reason
from zenzefi.ops.drain import GateRunner
from zenzefi.rewriting.registry import PluginError

log = logging.getLogger(__name__)

_NO_USE = 4  # gunicorn's "the application can't be loaded": it ends instead of trying for ever


async def gate() -> web.AppRunner:
    """What gunicorn's aiohttp worker runs: the application with its drain."""
    try:
        settings = load_settings()
        logs.configure(settings)
        await _check_schema(settings)
        app = create_app(settings)
    except (SettingsError, PluginError) as error:
        _end(error.problems)
    except migrate.SchemaOutdated as error:
        _end([str(error)])
    except DatabaseUnavailable as error:
        _end([f"the database can't be reached{reason(error)}."])
    if settings.redis_dsn is None:
        log.warning("without REDIS_URL a revoked token goes on in other workers: run just one")
    return GateRunner(app, drain_delay=settings.drain_delay, drain_timeout=settings.drain_timeout)


async def _check_schema(settings: Settings) -> None:
    database = Database(settings.sqlalchemy_url)
    try:
        await migrate.ensure(database, automatic=settings.is_embedded)
    finally:
        await database.close()


def _end(problems: list[str]) -> NoReturn:
    for problem in problems:
        sys.stderr.write(f"zenzefi: {problem}\n")
    raise SystemExit(_NO_USE)

"""The gate under gunicorn, for those who run everything under it:

    gunicorn zenzefi.gunicorn:gate --worker-class aiohttp.GunicornUVLoopWebWorker --workers 2 \
        --graceful-timeout 45

``zenzefi serve --workers N`` does the same without it; run ``zenzefi migrate`` first.
"""

from __future__ import annotations

from aiohttp import web

from zenzefi.app import create_app
from zenzefi.config import load_settings
from zenzefi.ops import logs
from zenzefi.ops.drain import GateRunner


async def gate() -> web.AppRunner:
    """What gunicorn's aiohttp worker runs: the application with its drain."""
    settings = load_settings()
    logs.configure(settings)
    return GateRunner(
        create_app(settings),
        drain_delay=settings.drain_delay,
        drain_timeout=settings.drain_timeout,
    )

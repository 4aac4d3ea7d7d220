"""Put operations into an application: drain, observation, health and metrics."""

from __future__ import annotations

from aiohttp import web

from zenzefi.config import SETTINGS
from zenzefi.ops import drain, health, housekeeping, jobs, observe, reload, tracing


def setup(app: web.Application) -> None:
    """Settings and the database are there already.

    :func:`zenzefi.ops.observe.observe_middleware` goes right after the request id's.
    """
    reload.setup(app)
    drain.setup(app)
    tracing.setup(app)
    observe.setup(app)
    health.setup(app)
    jobs.setup(app, app[SETTINGS].data_dir)
    housekeeping.setup(app)

"""Put the running process into an application: reload, drain, health, periodic jobs."""

from __future__ import annotations

from aiohttp import web

from zenzefi.runtime import drain, health, jobs, reload
from zenzefi.settings import SETTINGS


def setup(app: web.Application) -> None:
    """Settings, the database and observation are there already."""
    reload.setup(app)
    drain.setup(app)
    health.setup(app)
    jobs.setup(app, app[SETTINGS].data_dir)

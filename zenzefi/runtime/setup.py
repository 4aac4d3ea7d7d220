"""Adds the parts of the running process to an application: reload, drain, health, jobs, nodes."""

from __future__ import annotations

from aiohttp import web

from zenzefi.runtime import drain, health, jobs, nodes, reload
from zenzefi.settings import SETTINGS


def setup(app: web.Application) -> None:
    """Add the parts; settings, database and observation have to be set up before."""
    reload.setup(app)
    drain.setup(app)
    health.setup(app)
    jobs.setup(app, app[SETTINGS].data_dir)
    if not app[SETTINGS].is_embedded:  # one node, whose workers share their settings
        nodes.setup(app)

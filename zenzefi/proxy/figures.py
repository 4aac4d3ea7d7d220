"""What the plugins did, carried into the metrics every few seconds: off the request path."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from zenzefi.ops.metrics import PLUGIN_BYTES, PLUGIN_ERRORS, PLUGIN_SECONDS, REWRITE_CACHE
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.registry import Account

EVERY = 5.0
"""Seconds between two publications."""


class PluginFigures:
    """Adds to the counters what was added to the plugins' accounts since the last time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: dict[str, tuple[Account, float, int, int]] = {}
        self._hits = engine.cache.hits
        self._misses = engine.cache.misses

    def publish(self) -> None:
        """Carry over everything new."""
        for entry in self._engine.registry.entries:
            account = entry.account
            old, seconds, size, errors = self._seen.get(entry.name, (account, 0.0, 0, 0))
            if old is not account:  # loaded again: it counts from nothing
                seconds, size, errors = 0.0, 0, 0
            PLUGIN_SECONDS.labels(entry.name).inc(account.seconds - seconds)
            PLUGIN_BYTES.labels(entry.name).inc(account.bytes - size)
            PLUGIN_ERRORS.labels(entry.name).inc(account.errors - errors)
            self._seen[entry.name] = account, account.seconds, account.bytes, account.errors
        cache = self._engine.cache
        REWRITE_CACHE.labels("hit").inc(cache.hits - self._hits)
        REWRITE_CACHE.labels("miss").inc(cache.misses - self._misses)
        self._hits, self._misses = cache.hits, cache.misses


def setup(app: web.Application, engine: Engine) -> None:
    """Publish as long as the application runs, and once more at its end."""
    figures = PluginFigures(engine)

    async def repeat() -> None:
        while True:
            await asyncio.sleep(EVERY)
            figures.publish()

    async def life(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(repeat(), name="plugin-figures")
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        figures.publish()

    app.cleanup_ctx.append(life)

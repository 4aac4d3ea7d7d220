"""Publishes the statistics of plugins as metrics, periodically and off the request path."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from aiohttp import web
from prometheus_client import Counter

from zenzefi.observability.metrics import (
    PLUGIN_BYTES,
    PLUGIN_CALLS,
    PLUGIN_CONFLICTS,
    PLUGIN_EDITS,
    PLUGIN_ERRORS,
    PLUGIN_SECONDS,
    PLUGIN_SHADOW_EDITS,
    PLUGIN_SKIPPED,
    REWRITE_CACHE,
)
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import PluginStatistics
from zenzefi.tasks import repeat_every

EVERY = 5.0
"""Seconds between two publications."""


_Values = tuple[float, ...]


def _values(statistics: PluginStatistics) -> _Values:
    return (
        statistics.seconds,
        statistics.bytes,
        statistics.calls,
        statistics.edits,
        statistics.shadow_edits,
        statistics.conflicts,
        statistics.errors,
        statistics.skipped,
    )


_NOTHING = _values(PluginStatistics())


def _counters(plugin: str) -> Iterator[Counter]:
    """Where each of :func:`_values` is counted."""
    yield PLUGIN_SECONDS.labels(plugin)
    yield PLUGIN_BYTES.labels(plugin)
    yield PLUGIN_CALLS.labels(plugin)
    yield PLUGIN_EDITS.labels(plugin)
    yield PLUGIN_SHADOW_EDITS.labels(plugin)
    yield PLUGIN_CONFLICTS.labels(plugin)
    yield PLUGIN_ERRORS.labels(plugin)
    yield PLUGIN_SKIPPED.labels(plugin)


class PluginMetrics:
    """Adds to the counters what was added to the plugins' statistics since the last time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: dict[str, tuple[PluginStatistics, _Values]] = {}
        self._hits = engine.cache.hits
        self._misses = engine.cache.misses

    def publish(self) -> None:
        """Carry over everything new."""
        for entry in self._engine.registry.entries:
            statistics = entry.statistics
            old, seen = self._seen.get(entry.name, (statistics, _NOTHING))
            if old is not statistics:  # loaded again: it counts from nothing
                seen = _NOTHING
            now = _values(statistics)
            for counter, value, before in zip(_counters(entry.name), now, seen, strict=True):
                counter.inc(value - before)
            self._seen[entry.name] = statistics, now
        cache = self._engine.cache
        REWRITE_CACHE.labels("hit").inc(cache.hits - self._hits)
        REWRITE_CACHE.labels("miss").inc(cache.misses - self._misses)
        self._hits, self._misses = cache.hits, cache.misses


def setup(app: web.Application, engine: Engine) -> None:
    """Publish while the application runs, and once more when it stops."""
    plugin_metrics = PluginMetrics(engine)

    async def publishing(_: web.Application) -> AsyncIterator[None]:
        async with repeat_every(EVERY, plugin_metrics.publish, name="plugin metrics"):
            yield
        plugin_metrics.publish()

    app.cleanup_ctx.append(publishing)

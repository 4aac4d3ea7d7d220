"""The plugins' accounts reach the metrics, each thing once."""

from __future__ import annotations

from zenzefi.observability.metrics import (
    PLUGIN_BYTES,
    PLUGIN_CALLS,
    PLUGIN_ERRORS,
    PLUGIN_SECONDS,
    PLUGIN_SKIPPED,
)
from zenzefi.plugins import Context, Needs, Plugin, TextEdit
from zenzefi.plugins_testing import engine_for, exchange
from zenzefi.proxy.plugin_metrics import PluginMetrics


class Counter(Plugin):
    """Fails on demand."""

    name = "counted-by-a-test"
    needs = Needs.TEXT

    def text(self, context: Context, text: str) -> list[TextEdit]:
        if "bad" in text:
            raise RuntimeError("no luck")
        return []


def test_plugin_metrics_are_counted_once() -> None:
    engine, _ = engine_for(Counter)
    metrics = PluginMetrics(engine)
    errors = PLUGIN_ERRORS.labels(Counter.name)
    size = PLUGIN_BYTES.labels(Counter.name)
    for body in (b"good", b"bad"):
        rewrite = engine.plan(exchange(headers={"Content-Type": "text/plain"}))
        assert rewrite is not None
        rewrite.feed(body)
        rewrite.finish()
    metrics.publish()
    metrics.publish()
    assert errors._value.get() == 1
    assert size._value.get() >= 4
    assert PLUGIN_SECONDS.labels(Counter.name)._value.get() > 0
    assert PLUGIN_CALLS.labels(Counter.name)._value.get() >= 1
    assert PLUGIN_SKIPPED.labels(Counter.name)._value.get() == 0


def test_reloading_plugins_does_not_reset_their_metrics() -> None:
    engine, entry = engine_for(Counter)
    metrics = PluginMetrics(engine)
    skipped = PLUGIN_SKIPPED.labels(Counter.name)
    before = skipped._value.get()
    entry.statistics.skipped = 3
    metrics.publish()
    engine.registry.load()
    engine.registry[Counter.name].statistics.skipped = 1
    metrics.publish()
    assert skipped._value.get() - before == 4

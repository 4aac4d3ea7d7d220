"""The speed of a plugin, as ``zenzefi plugin list`` shows it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zenzefi.rewriting.plugins.api import Plugin

_SAMPLES = {
    "text/html": b'<div class="row"><a href="/item/1">One</a> <img src="i.png" alt="x"></div>\n',
    "text/css": b".row > a { color: #123456; background: url(/img/a.png) }\n",
    "text/javascript": b"export function f(a){return a.map(x=>x*2).join(',')}\n",
    "application/json": b'{"id": 12, "name": "One", "tags": ["a", "b"], "price": 1.5}\n',
    "application/xml": b'<item id="1"><title>One</title><link>/item/1</link></item>\n',
    "application/vnd.apple.mpegurl": b"#EXTINF:5,\nsegment1.ts\n",
}


def speed(plugin_class: type[Plugin]) -> float | None:
    """Throughput in MB/s on a sample of the first matching type.

    ``None`` for a plugin that processes no bodies or fails on the sample.
    """
    from zenzefi.plugins_testing import watched

    with watched():
        return _measured(plugin_class)


def _measured(plugin_class: type[Plugin]) -> float | None:
    from zenzefi.plugins_testing import engine_for, exchange

    engine, entry = engine_for(plugin_class)
    wanted = plugin_class.matches
    path = wanted.paths[0].replace("*", "x") if wanted.paths else "/"
    where: dict[str, Any] = {
        "url": f"https://app.example{path}",
        "destination": wanted.destinations[0] if wanted.destinations else None,
        "status": wanted.status[0] if wanted.status else 200,
    }
    for content_type, line in _SAMPLES.items():
        if not plugin_class.matches.content_type(content_type):
            continue
        data = line * (65536 // len(line))
        rounds = (1, 16)  # the first round compiles the patterns
        for count in rounds:
            rewrite = engine.plan(exchange(headers={"Content-Type": content_type}, **where))
            if rewrite is None:
                return None
            start = time.process_time()
            for _ in range(count):
                rewrite.feed(data)
            rewrite.finish()
            spent = time.process_time() - start
        if not entry.statistics.calls or entry.statistics.errors:
            return None  # the plugin skipped the sample or failed on it
        return round(rounds[-1] * len(data) / 1e6 / max(spent, 1e-6), 1)
    return None

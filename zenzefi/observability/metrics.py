"""What is measured, for Prometheus. ``docs/reference/metrics.md`` lists it, held against this file.

Every label has few values, all known beforehand: a client must not be able to make series.
Several workers share their values through files (``PROMETHEUS_MULTIPROC_DIR``, set by
``zenzefi serve --workers``); one process keeps them in memory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from zenzefi.version import __version__

REGISTRY = CollectorRegistry()
TEXT = "text/plain; version=0.0.4; charset=utf-8"

LATENCY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Seconds: the upper bounds of the latency histograms, the last one (infinity) left out."""
_LAG = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5)

PROXY_REQUESTS = Counter(
    "proxy_requests_total",
    "Requests that went through to the upstream, or were refused on the way.",
    ["method", "status_code"],
    registry=REGISTRY,
)
PROXY_LATENCY = Histogram(
    "proxy_latency_seconds",
    "From the request's head to the end of its answer; WebSockets and event streams left out.",
    buckets=LATENCY_BOUNDS,
    registry=REGISTRY,
)
PROXY_BYTES = Counter(
    "proxy_bytes_total",
    "Bytes of bodies that went through: received from browsers, sent to them.",
    ["direction"],
    registry=REGISTRY,
)
PROXY_STRAYS = Counter(
    "proxy_strays_total",
    "Requests outside the mount that were redirected into it.",
    registry=REGISTRY,
)
WEBSOCKETS_OPEN = Gauge(
    "websockets_open",
    "WebSockets that are open through the gate now.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
UPSTREAM_CONNECTIONS = Gauge(
    "upstream_connections",
    "Connections to the upstream now, by kind: short, long_lived, idle.",
    ["kind"],
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
UPSTREAM_QUEUE = Gauge(
    "upstream_queue_length",
    "Requests that wait for a connection to the upstream now.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
UPSTREAM_QUEUE_SECONDS = Histogram(
    "upstream_queue_seconds",
    "How long requests waited for a connection to the upstream; those that did not wait left out.",
    buckets=LATENCY_BOUNDS,
    registry=REGISTRY,
)
UPSTREAM_REFUSED = Counter(
    "upstream_refused_total",
    "Requests that got no connection to the upstream, by reason: full, token, long_lived, "
    "long_lived_token, queue, queue_token (those in token: the token's own share).",
    ["reason"],
    registry=REGISTRY,
)
GATE_REQUESTS = Counter(
    "gate_requests_total",
    "Requests for the gate's own pages and calls, by route.",
    ["route", "method", "status_code"],
    registry=REGISTRY,
)
GATE_LATENCY = Histogram(
    "gate_latency_seconds",
    "From the request's head to the end of the answer, for the gate's own pages and calls.",
    buckets=LATENCY_BOUNDS,
    registry=REGISTRY,
)
AUTH_ATTEMPTS = Counter(
    "auth_attempts_total",
    "Sign-ins by result: success, rejected, limited.",
    ["result"],
    registry=REGISTRY,
)
TOKEN_PURCHASES = Counter(
    "token_purchases_total",
    "Access tokens sold, by duration.",
    ["duration_hours"],
    registry=REGISTRY,
)
TOKEN_REVOCATIONS = Counter(
    "token_revocations_total",
    "Access tokens revoked by their owners or by administrators.",
    registry=REGISTRY,
)
TOKEN_LOOKUPS = Counter(
    "token_lookups_total",
    "Validations that memory could not answer, by what did: redis, redis_alone (without the "
    "database), database, unknown.",
    ["tier"],
    registry=REGISTRY,
)
CACHE_ENTRIES = Gauge(
    "cache_entries",
    "Entries that this node keeps in memory about tokens, devices and sessions, by table. All are "
    "bounded.",
    ["cache"],
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
OPEN_HOLDS = Gauge(
    "open_holds",
    "Sockets, event streams and transfers that are open now and end with their tokens.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
ENDS_SUBSCRIPTION = Gauge(
    "ends_subscription",
    "Whether this node hears at once of what ends on others (1); without Redis always 0.",
    multiprocess_mode="livemin",
    registry=REGISTRY,
)
CLOCK_SKEW = Gauge(
    "clock_skew_seconds",
    "By how much the database's clock is ahead of this node's; what a slow answer may explain is "
    "left out.",
    multiprocess_mode="livemostrecent",
    registry=REGISTRY,
)
ACTIVE_TOKENS = Gauge(
    "active_tokens",
    "Access tokens whose clock runs now, over all nodes.",
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)
ACTIVE_SESSIONS = Gauge(
    "active_sessions",
    "Sessions of use that are going on now, over all nodes.",
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)
LEDGER_MISMATCHES = Gauge(
    "ledger_mismatches",
    "Accounts whose balance, ledger, tokens or payments differ, by the last proof. Must be 0.",
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)
PLUGIN_SECONDS = Counter(
    "plugin_seconds_total",
    "Processor time spent in each plugin.",
    ["plugin"],
    registry=REGISTRY,
)
PLUGIN_BYTES = Counter(
    "plugin_bytes_total",
    "Bytes that each plugin looked at.",
    ["plugin"],
    registry=REGISTRY,
)
PLUGIN_CALLS = Counter(
    "plugin_calls_total",
    "Calls of each plugin: a piece of a body, a head, a message.",
    ["plugin"],
    registry=REGISTRY,
)
PLUGIN_EDITS = Counter(
    "plugin_edits_total",
    "Edits of bodies that each plugin asked for.",
    ["plugin"],
    registry=REGISTRY,
)
PLUGIN_SHADOW_EDITS = Counter(
    "plugin_shadow_edits_total",
    "Changes that a plugin in shadow mode would have made.",
    ["plugin"],
    registry=REGISTRY,
)
PLUGIN_CONFLICTS = Counter(
    "plugin_conflicts_total",
    "Edits of each plugin that were dropped because an earlier plugin edits the same place.",
    ["plugin"],
    registry=REGISTRY,
)
PLUGIN_ERRORS = Counter(
    "plugin_errors_total",
    "Exceptions raised by each plugin; the traffic went on without it.",
    ["plugin"],
    registry=REGISTRY,
)
PLUGIN_SKIPPED = Counter(
    "plugin_skipped_total",
    "What passed a plugin by while it rested after repeated failures.",
    ["plugin"],
    registry=REGISTRY,
)
REWRITE_CACHE = Counter(
    "rewrite_cache_total",
    "Look-ups of finished rewritings: hit, miss.",
    ["result"],
    registry=REGISTRY,
)
RATE_LIMITED = Counter(
    "rate_limited_total",
    "Requests refused by a rate limit, by limit.",
    ["limit"],
    registry=REGISTRY,
)
RATE_LIMIT_FAILURES = Counter(
    "rate_limit_failures_total",
    "Uses counted by this process alone because Redis did not respond.",
    registry=REGISTRY,
)
JOB_RUNS = Counter(
    "job_runs_total",
    "Runs of the periodic jobs on this node, by result: ok, failed.",
    ["job", "result"],
    registry=REGISTRY,
)
DEPENDENCY_UP = Gauge(
    "dependency_up",
    "Whether the last background check reached it (1) or not (0).",
    ["dependency"],
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)
EVENT_LOOP_LAG = Histogram(
    "event_loop_lag_seconds",
    "How much later than due the event loop came to a timer, sampled twice a second.",
    buckets=_LAG,
    registry=REGISTRY,
)
LOG_LINES_LOST = Counter(
    "access_log_lines_lost_total",
    "Lines of the access log dropped because they came faster than they could be written.",
    registry=REGISTRY,
)
DESCRIPTOR_SHORTAGES = Counter(
    "descriptor_shortages_total",
    "Times that too few file descriptors were left: for a client, for the upstream, for accepting.",
    ["what"],
    registry=REGISTRY,
)
BUILD = Gauge(
    "gate_build",
    "Always 1; the label says which version runs.",
    ["version"],
    multiprocess_mode="max",
    registry=REGISTRY,
)
BUILD.labels(__version__).set(1)

METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT", "SEARCH")
)


def observe_many(histogram: Histogram, buckets: Sequence[int], total: float) -> None:
    """Add values that were sorted into the histogram's own buckets elsewhere; ``total``: their sum.

    ``buckets`` has one count per bound and one for what lies above the last.
    """
    for bucket, count in zip(histogram._buckets, buckets, strict=True):
        if count:
            bucket.inc(count)
    if total:
        histogram._sum.inc(total)


def method_label(method: str) -> str:
    """The method as a label: one of a fixed set, whatever a client sends."""
    return method if method in METHODS else "other"


def forget_process(pid: int) -> None:
    """A worker has ended: what it had open is open no more, what it counted stays counted."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]  # ships none


def exposition(accept: str) -> tuple[bytes, str]:
    """All series of all workers of this node, and their content type."""
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # ships none
    if "application/openmetrics-text" in accept:
        text: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]  # ships none
        return text, OPENMETRICS
    return generate_latest(registry), TEXT

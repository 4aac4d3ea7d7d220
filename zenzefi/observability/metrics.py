"""Metrics for Prometheus. ``docs/reference/metrics.md`` is generated from this module.

The values of every label are a fixed set, so a client can't create series. Several workers share
their values through files (``PROMETHEUS_MULTIPROC_DIR``, set by ``zenzefi serve --workers``); a
single process keeps them in memory.
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
"""Upper bounds of the latency histograms in seconds, without the last one (infinity)."""
_LAG = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5)

PROXY_REQUESTS = Counter(
    "proxy_requests_total",
    "Proxied requests, including those that the gate rejected.",
    ["method", "status_code"],
    registry=REGISTRY,
)
PROXY_LATENCY = Histogram(
    "proxy_latency_seconds",
    "Seconds from the request's head to the end of its response, without WebSockets and event "
    "streams.",
    buckets=LATENCY_BOUNDS,
    registry=REGISTRY,
)
PROXY_BYTES = Counter(
    "proxy_bytes_total",
    "Bytes of proxied bodies, by direction: received from browsers, sent to them.",
    ["direction"],
    registry=REGISTRY,
)
PROXY_UNMOUNTED_REQUESTS = Counter(
    "proxy_strays_total",
    "Requests outside the mount that were redirected into it.",
    registry=REGISTRY,
)
WEBSOCKETS_OPEN = Gauge(
    "websockets_open",
    "Currently open WebSockets.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
UPSTREAM_CONNECTIONS = Gauge(
    "upstream_connections",
    "Current connections to the upstream, by kind: short, long_lived, idle.",
    ["kind"],
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
UPSTREAM_QUEUE = Gauge(
    "upstream_queue_length",
    "Requests that currently wait for a connection to the upstream.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
UPSTREAM_QUEUE_SECONDS = Histogram(
    "upstream_queue_seconds",
    "Seconds that requests waited for a connection to the upstream, without those that did not "
    "wait.",
    buckets=LATENCY_BOUNDS,
    registry=REGISTRY,
)
UPSTREAM_REFUSED = Counter(
    "upstream_refused_total",
    "Requests rejected for lack of an upstream connection, by reason: full, long_lived, queue, and "
    "token, long_lived_token, queue_token for the share of one token.",
    ["reason"],
    registry=REGISTRY,
)
GATE_REQUESTS = Counter(
    "gate_requests_total",
    "Requests for the gate's own pages and API, by route.",
    ["route", "method", "status_code"],
    registry=REGISTRY,
)
GATE_LATENCY = Histogram(
    "gate_latency_seconds",
    "Seconds from the request's head to the end of the response, for the gate's own pages and API.",
    buckets=LATENCY_BOUNDS,
    registry=REGISTRY,
)
AUTH_ATTEMPTS = Counter(
    "auth_attempts_total",
    "Sign-in attempts by result: success, rejected, limited.",
    ["result"],
    registry=REGISTRY,
)
PROVIDER_REQUESTS = Counter(
    "identity_provider_requests_total",
    "Requests to identity providers by result: success, status, timeout, connection, content, "
    "full, url.",
    ["result"],
    registry=REGISTRY,
)
PROVIDER_SIGN_INS = Counter(
    "identity_provider_sign_ins_total",
    "Sign-ins with an identity provider by result: success, created, unconfirmed, cancelled, "
    "rejected, unavailable.",
    ["result"],
    registry=REGISTRY,
)
API_KEY_CALLS = Counter(
    "api_key_calls_total",
    "API calls with an API key by result: accepted, rejected (unknown, ended or of an inactive "
    "user), forbidden (the key lacks the permission).",
    ["result"],
    registry=REGISTRY,
)
TOKEN_PURCHASES = Counter(
    "token_purchases_total",
    "Access tokens sold, by duration.",
    ["duration_hours"],
    registry=REGISTRY,
)
TOKEN_RENEWALS = Counter(
    "token_renewals_total",
    "Renewals of access tokens, by outcome.",
    ["outcome"],
    registry=REGISTRY,
)
PROMO_CODE_USES = Counter(
    "promo_code_uses_total",
    "Access tokens sold with a promo code.",
    registry=REGISTRY,
)
TOKEN_REVOCATIONS = Counter(
    "token_revocations_total",
    "Access tokens revoked by their owners or by administrators.",
    registry=REGISTRY,
)
TOKEN_LOOKUPS = Counter(
    "token_lookups_total",
    "Token validations outside the process's cache, by source: redis, redis_alone (without the "
    "database), database, unknown.",
    ["tier"],
    registry=REGISTRY,
)
CACHE_ENTRIES = Gauge(
    "cache_entries",
    "Entries of the bounded caches in memory, by cache.",
    ["cache"],
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
OPEN_TOKEN_CONNECTIONS = Gauge(
    "open_holds",
    "Open WebSockets, event streams and transfers, which are closed when their token ends.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
INVALIDATION_SUBSCRIPTION = Gauge(
    "ends_subscription",
    "Whether this node receives invalidation messages from other nodes (1). Always 0 without "
    "Redis.",
    multiprocess_mode="livemin",
    registry=REGISTRY,
)
CLOCK_SKEW = Gauge(
    "clock_skew_seconds",
    "Seconds by which the database's clock is ahead of this node's, beyond the response time.",
    multiprocess_mode="livemostrecent",
    registry=REGISTRY,
)
ACTIVE_TOKENS = Gauge(
    "active_tokens",
    "Activated and unexpired access tokens, over all nodes.",
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)
ACTIVE_SESSIONS = Gauge(
    "active_sessions",
    "Open sessions of access tokens, over all nodes.",
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)
LEDGER_MISMATCHES = Gauge(
    "ledger_mismatches",
    "Accounts whose balance, ledger, tokens or payments differ, at the last reconciliation. Must "
    "be 0.",
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
    "Bytes processed by each plugin.",
    ["plugin"],
    registry=REGISTRY,
)
PLUGIN_CALLS = Counter(
    "plugin_calls_total",
    "Calls of each plugin, with a part of a body, a head or a message.",
    ["plugin"],
    registry=REGISTRY,
)
PLUGIN_EDITS = Counter(
    "plugin_edits_total",
    "Edits of bodies made by each plugin.",
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
    "Exceptions raised by each plugin. The traffic continues without its edits.",
    ["plugin"],
    registry=REGISTRY,
)
PLUGIN_SKIPPED = Counter(
    "plugin_skipped_total",
    "Responses and messages not processed by a plugin that is paused after repeated failures.",
    ["plugin"],
    registry=REGISTRY,
)
REWRITE_CACHE = Counter(
    "rewrite_cache_total",
    "Look-ups in the cache of rewritten bodies, by result: hit, miss.",
    ["result"],
    registry=REGISTRY,
)
RATE_LIMITED = Counter(
    "rate_limited_total",
    "Requests rejected by a rate limit, by limit.",
    ["limit"],
    registry=REGISTRY,
)
RATE_LIMIT_FAILURES = Counter(
    "rate_limit_failures_total",
    "Uses counted by this process alone because Redis was unavailable.",
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
    "Whether the last background check of the dependency succeeded (1) or failed (0).",
    ["dependency"],
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)
SECRET_KEY_CONFLICTS = Gauge(
    "secret_key_conflicts",
    "Disagreements between the secret keys of this node and of the other running nodes.",
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)
EVENT_LOOP_LAG = Histogram(
    "event_loop_lag_seconds",
    "Seconds by which timers of the event loop are late, sampled twice a second.",
    buckets=_LAG,
    registry=REGISTRY,
)
LOG_LINES_LOST = Counter(
    "access_log_lines_lost_total",
    "Lines of the access log that were dropped because writing was too slow.",
    registry=REGISTRY,
)
DESCRIPTOR_SHORTAGES = Counter(
    "descriptor_shortages_total",
    "Shortages of file descriptors, by purpose: client, upstream, accept.",
    ["what"],
    registry=REGISTRY,
)
BUILD = Gauge(
    "gate_build",
    "Always 1; the label is the version of the gate.",
    ["version"],
    multiprocess_mode="max",
    registry=REGISTRY,
)
BUILD.labels(__version__).set(1)

METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT", "SEARCH")
)


def observe_many(histogram: Histogram, buckets: Sequence[int], total: float) -> None:
    """Add values that were counted elsewhere, by the histogram's buckets.

    ``buckets`` has one count per bound and one for values above the last bound. ``total`` is the
    sum of the values.
    """
    for bucket, count in zip(histogram._buckets, buckets, strict=True):
        if count:
            bucket.inc(count)
    if total:
        histogram._sum.inc(total)


def method_label(method: str) -> str:
    """The method as a label: one of a fixed set, else ``other``."""
    return method if method in METHODS else "other"


def exposition(accept: str) -> tuple[bytes, str]:
    """The exposition of all workers of this node, and its content type."""
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # ships none
    if "application/openmetrics-text" in accept:
        text: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]  # ships none
        return text, OPENMETRICS
    return generate_latest(registry), TEXT

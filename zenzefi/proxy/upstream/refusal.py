"""The errors for requests that get no connection."""

from __future__ import annotations

from zenzefi.errors import GateError
from zenzefi.observability.metrics import UPSTREAM_REFUSED
from zenzefi.proxy.errors import TooManyConnections, UpstreamBusy
from zenzefi.proxy.upstream.limits import TOKEN_REASONS, Reason


def refusal(reason: Reason) -> GateError:
    """Count a refusal; returns the error for the client: 429 for its own limit, else 503."""
    UPSTREAM_REFUSED.labels(reason).inc()
    return TooManyConnections() if reason in TOKEN_REASONS else UpstreamBusy()

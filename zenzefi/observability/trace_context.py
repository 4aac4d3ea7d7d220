"""W3C Trace Context (https://www.w3.org/TR/trace-context/): the trace ID of a request.

Log lines contain the trace ID. Without tracing (:mod:`zenzefi.observability.tracing`),
``traceparent`` and ``tracestate`` are forwarded to the upstream unchanged, as section 2.1 allows.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import NamedTuple

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


class Trace(NamedTuple):
    """IDs of the request that the current task serves. ``trace_id`` is empty without a trace."""

    request_id: str
    trace_id: str


CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""The IDs that are added to log lines of the current task."""


def trace_id_of(traceparent: str | None) -> str:
    """The trace ID in a ``traceparent`` header; empty if the header is absent or invalid."""
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match is None:
        return ""
    version, trace, parent, rest = match.groups()
    # Section 3.2.2: version ff is forbidden, all-zero IDs are invalid, version 00 has four fields.
    if version == "ff" or (version == "00" and rest) or not trace.strip("0"):
        return ""
    return trace if parent.strip("0") else ""

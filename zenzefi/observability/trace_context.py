"""W3C Trace Context: a request keeps its trace across the gate.

https://www.w3.org/TR/trace-context/ Without tracing (:mod:`zenzefi.observability.tracing`),
``traceparent`` and ``tracestate`` pass to the upstream unchanged (section 2.1 allows it). Log lines
carry the ID of the trace.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import NamedTuple

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


class Trace(NamedTuple):
    """Which request the running task serves; ``trace_id`` is empty outside a trace."""

    request_id: str
    trace_id: str


CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""What log lines of the running task are marked with."""


def trace_id_of(traceparent: str | None) -> str:
    """The trace id in a ``traceparent`` header; empty when there is none or it is invalid."""
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match is None:
        return ""
    version, trace, parent, rest = match.groups()
    # Section 3.2.2: version ff is forbidden, all-zero ids are invalid, version 00 has four fields.
    if version == "ff" or (version == "00" and rest) or not trace.strip("0"):
        return ""
    return trace if parent.strip("0") else ""

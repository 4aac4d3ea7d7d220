"""W3C Trace Context: a request keeps its trace across the gate (https://www.w3.org/TR/trace-context/).

A valid ``traceparent`` is continued, anything else starts a trace anew; the upstream gets the same
trace id with a span of ours as the parent.
"""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class Trace:
    """The place of one request in a distributed trace. ``span_id`` is the gate's own."""

    request_id: str
    trace_id: str
    span_id: str
    flags: str = "00"

    @property
    def traceparent(self) -> str:
        """The header's value for the next hop, in which this span is the parent."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def continued(traceparent: str | None, request_id: str) -> Trace:
    """The trace that this header names, or a new one (section 4.3: invalid means restart)."""
    span = secrets.token_hex(8)
    match = _TRACEPARENT.fullmatch(traceparent.strip()) if traceparent else None
    if match is not None:
        version, trace, parent, flags, rest = match.groups()
        # Version ff is forbidden, all-zero ids are invalid, version 00 has exactly four fields.
        known = version != "ff" and not (version == "00" and rest)
        if known and set(trace) != {"0"} and set(parent) != {"0"}:
            # Only the sampled bit is defined in version 00 (section 3.2.2.5).
            return Trace(request_id, trace, span, f"{int(flags, 16) & 1:02x}")
    return Trace(request_id, secrets.token_hex(16), span)


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def current_trace() -> Trace | None:
    """The trace of the request that this task serves, if any."""
    return _current.get()


def set_current(trace: Trace) -> None:
    """Make this the trace of the running task."""
    _current.set(trace)

"""The spans of one request without a task: its own, and that of its request to the upstream."""

from __future__ import annotations

from collections.abc import Mapping

from zenzefi.errors import GateError
from zenzefi.observability.tracing import ServerSpan, Tracing
from zenzefi.origin import Origin


class Spans:
    """Both spans of a request; they end together."""

    __slots__ = ("_exchange", "server")

    def __init__(
        self,
        tracing: Tracing,
        upstream: Origin,
        method: str,
        scheme: str,
        path: str,
        headers: Mapping[str, str],
    ) -> None:
        """``path``: as the client sent it; ``headers``: of the request."""
        self.server = tracing.begin(method, scheme, path, headers)
        self._exchange = self.server.start_toward(upstream.host, upstream.port, method)

    @property
    def traceparent(self) -> str:
        """The header that is sent to the upstream."""
        return self._exchange.traceparent

    @property
    def trace_id(self) -> str:
        """The trace ID for log lines, 32 hex digits."""
        return self.server.trace_id

    def hand_over(self, error: GateError | None) -> ServerSpan:
        """End the span of the request to the upstream if it was sent; the other one goes on."""
        if error is not None:
            self._exchange.failed(type(error).__name__)
            self._exchange.end()
        return self.server

    def end(self, method: str, status: int, address: str) -> None:
        """The response is complete, or was broken off."""
        self._exchange.responded(status)
        self._exchange.end()
        self.server.end(method, "proxy", status, address)

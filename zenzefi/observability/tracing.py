"""OpenTelemetry spans, if ``TRACING`` is set (needs the extra ``opentelemetry``).

Each request is a server span, and each request to the upstream is a client span below it, which the
upstream receives in ``traceparent`` as the parent for its spans. The standard variables
configure export and sampling: ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_TRACES_SAMPLER``,
``OTEL_SERVICE_NAME``, ``OTEL_RESOURCE_ATTRIBUTES``.

Names and attributes follow the semantic conventions for HTTP. Queries and headers are not recorded,
as they may contain a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from zenzefi.observability.logs import Scrubber
from zenzefi.settings import SETTINGS, SettingsError
from zenzefi.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

_CARRIED = ("traceparent", "tracestate")
PROBES = frozenset(("/health", "//health", "/livez", "/readyz", "/metrics"))
"""Paths without spans: monitoring requests them every few seconds."""


def exporter() -> SpanExporter:
    """The exporter of the spans.

    Raises ``ImportError`` if the extra is not installed.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


class Tracing:
    """Creates the spans of one process; a thread exports them in batches."""

    def __init__(self, sink: SpanExporter) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        named = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or "zenzefi"}
        resource = Resource.create({**named, "service.version": __version__})
        # Not set as the global provider, which other code in the process may use.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(sink))
        self._tracer = self._provider.get_tracer("zenzefi", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._scrub = Scrubber()

    def begin(self, method: str, scheme: str, path: str, headers: Mapping[str, str]) -> ServerSpan:
        """Start the span of a new request, below the client's span if it sent one.

        ``path``: as the client sent it; ``headers``: of the request, by case-insensitive names.
        """
        from opentelemetry.trace import SpanKind

        carried = {name: value for name in _CARRIED if (value := headers.get(name))}
        span = self._tracer.start_span(
            method,
            context=self._propagator.extract(carried),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "url.scheme": scheme,
                "url.path": self._scrub(path),
            },
        )
        return ServerSpan(self, span)

    def toward(self, parent: Span, host: str, port: int, method: str) -> Span:
        """Start the span of one request to the upstream."""
        from opentelemetry.trace import SpanKind, set_span_in_context

        return self._tracer.start_span(
            method,
            context=set_span_in_context(parent),
            kind=SpanKind.CLIENT,
            attributes={
                "http.request.method": method,
                "server.address": host,
                "server.port": port,
            },
        )

    def carried(self, span: Span) -> dict[str, str]:
        """The headers ``traceparent`` and ``tracestate`` of this span."""
        from opentelemetry.trace import set_span_in_context

        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span))
        return carrier

    def close(self) -> None:
        """Export the remaining spans. Blocks for seconds, so call it in a thread."""
        self._provider.shutdown()


class ServerSpan:
    """The span of one request."""

    __slots__ = ("_span", "_tracing", "trace_id")

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self._tracing = tracing
        self._span = span
        self.trace_id = format(span.get_span_context().trace_id, "032x")
        """The trace ID for log lines, 32 hex digits."""

    def start_toward(self, host: str, port: int, method: str) -> UpstreamSpan:
        """Start the span of one request to the upstream."""
        span = self._tracing.toward(self._span, host, port, method)
        return UpstreamSpan(span, self._tracing.carried(span)["traceparent"])

    @contextlib.contextmanager
    def toward(self, host: str, port: int, method: str) -> Iterator[UpstreamSpan]:
        """The span of one request to the upstream, ended with the context."""
        span = self.start_toward(host, port, method)
        try:
            yield span
        except BaseException as error:
            span.failed(type(error).__name__)
            raise
        finally:
            span.end()

    def end(self, method: str, route: str, status: int, address: str) -> None:
        """End the span of the request. ``route`` is its pattern, one of a fixed set."""
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes(
            {"http.route": route, "http.response.status_code": status, "client.address": address}
        )
        if status >= 500:
            _failed(self._span, str(status))
        self._span.end()


class UpstreamSpan:
    """The span of one request to the upstream."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: Span, traceparent: str) -> None:
        self._span = span
        self.traceparent = traceparent
        """The header that is sent to the upstream."""

    def failed(self, kind: str) -> None:
        """Record that no response came."""
        _failed(self._span, kind)

    def end(self) -> None:
        """End the span."""
        self._span.end()

    def responded(self, status: int) -> None:
        """Record the status code of the upstream's response."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= 400:  # for client spans, the conventions define 4xx as errors too
            _failed(self._span, str(status))


def _failed(span: Span, kind: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


TRACING: web.AppKey[Tracing] = web.AppKey("tracing", Tracing)
SPAN = web.RequestKey("span", ServerSpan)
"""The span of this request, with tracing."""


def missing() -> list[str]:
    """The problem to report if the extra is not installed; else an empty list."""
    try:
        exporter()
    except ImportError:
        return ["TRACING needs OpenTelemetry: pip install 'zenzefi[opentelemetry]'."]
    return []


def setup(app: web.Application) -> None:
    """Add tracing to the application if ``TRACING`` is set.

    Raises ``SettingsError`` if the extra is not installed.
    """
    if not app[SETTINGS].tracing:
        return
    if problems := missing():
        raise SettingsError(problems)
    tracing: Any = Tracing(exporter())
    app[TRACING] = tracing

    async def close_tracing(_: web.Application) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(tracing.close)

    app.cleanup_ctx.append(close_tracing)

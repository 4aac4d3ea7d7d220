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
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from zenzefi.observability.logs import Scrubber
from zenzefi.settings import SETTINGS, SettingsError
from zenzefi.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import SpanContext, SpanKind
    from opentelemetry.util.types import Attributes

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
    """Creates the spans of one process; a thread exports them in batches.

    A span that is not sampled costs no more than its IDs. The others are written down as they
    happen, and become objects of the SDK when they end: ``Tracer.start_span`` costs more than all
    other work on a common request.
    """

    def __init__(self, sink: SpanExporter) -> None:
        from opentelemetry import trace as api
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import Decision
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        named = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or "zenzefi"}
        resource = Resource.create({**named, "service.version": __version__})
        # Not set as the global provider, which other code in the process may use.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._processor = BatchSpanProcessor(sink)
        self._provider.add_span_processor(self._processor)
        self._api = api
        self._span_of = ReadableSpan
        self._sampled = Decision.RECORD_AND_SAMPLE
        self._unset = api.Status(api.StatusCode.UNSET)
        self._failed = api.Status(api.StatusCode.ERROR)
        self._scope = InstrumentationScope("zenzefi", __version__)
        self._is_enabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
        self._propagator = TraceContextTextMapPropagator()
        self._scrub = Scrubber()

    def begin(self, method: str, scheme: str, path: str, headers: Mapping[str, str]) -> ServerSpan:
        """Start the span of a new request, below the client's span if it sent one.

        ``path``: as the client sent it; ``headers``: of the request, by case-insensitive names.
        """
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "url.scheme": scheme,
            "url.path": self._scrub(path),
        }
        context = self._context(method, headers, attributes)
        return ServerSpan(
            self, RecordedSpan(method, self._api.SpanKind.SERVER, *context, attributes)
        )

    def _context(
        self, method: str, headers: Mapping[str, str], attributes: Attributes
    ) -> tuple[SpanContext, SpanContext | None]:
        """The context of a new request, with the sampler's decision, and that of its parent."""
        api = self._api
        found = parent = None
        if headers.get("traceparent"):
            carried = {name: value for name in _CARRIED if (value := headers.get(name))}
            found = self._propagator.extract(carried)
            parent = api.get_current_span(found).get_span_context()
            if not parent.is_valid:
                parent = None
        ids = self._provider.id_generator
        trace_id = ids.generate_trace_id() if parent is None else parent.trace_id
        decided = self._provider.sampler.should_sample(
            found, trace_id, method, api.SpanKind.SERVER, attributes, ()
        )
        is_sampled = decided.decision is self._sampled and self._is_enabled
        flags = api.TraceFlags.SAMPLED if is_sampled else 0
        flags |= 0 if parent is None else parent.trace_flags & ~api.TraceFlags.SAMPLED
        context = api.SpanContext(
            trace_id, ids.generate_span_id(), False, api.TraceFlags(flags), decided.trace_state
        )
        return context, parent

    def toward(self, parent: SpanContext, host: str, port: int, method: str) -> RecordedSpan:
        """Start the span of one request to the upstream. The whole trace is sampled, or none."""
        span_id = self._provider.id_generator.generate_span_id()
        context = self._api.SpanContext(
            parent.trace_id, span_id, False, parent.trace_flags, parent.trace_state
        )
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "server.address": host,
            "server.port": port,
        }
        return RecordedSpan(method, self._api.SpanKind.CLIENT, context, parent, attributes)

    def end(self, span: RecordedSpan) -> None:
        """Queue a span for the export, if it is sampled."""
        context = span.context
        if not context.trace_flags.sampled:
            return
        self._processor.on_end(
            self._span_of(
                span.name,
                context,
                span.parent,
                self._provider.resource,
                span.attributes,
                kind=span.kind,
                status=self._failed if span.is_failed else self._unset,
                start_time=span.started,
                end_time=time.time_ns(),
                instrumentation_scope=self._scope,
            )
        )

    def close(self) -> None:
        """Export the remaining spans. Blocks for seconds, so call it in a thread."""
        self._provider.shutdown()


class RecordedSpan:
    """The facts of a span that has not ended."""

    __slots__ = ("attributes", "context", "is_failed", "kind", "name", "parent", "started")

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        context: SpanContext,
        parent: SpanContext | None,
        attributes: dict[str, str | int],
    ) -> None:
        self.name = name
        self.kind = kind
        self.context = context
        self.parent = parent
        self.attributes = attributes
        self.started = time.time_ns()
        self.is_failed = False

    def failed(self, kind: str) -> None:
        """Mark the span as failed; ``kind``: the type of the error."""
        self.attributes["error.type"] = kind
        self.is_failed = True


class ServerSpan:
    """The span of one request."""

    __slots__ = ("_span", "_tracing", "trace_id")

    def __init__(self, tracing: Tracing, span: RecordedSpan) -> None:
        self._tracing = tracing
        self._span = span
        self.trace_id = format(span.context.trace_id, "032x")
        """The trace ID for log lines, 32 hex digits."""

    def start_toward(self, host: str, port: int, method: str) -> UpstreamSpan:
        """Start the span of one request to the upstream."""
        return UpstreamSpan(
            self._tracing, self._tracing.toward(self._span.context, host, port, method)
        )

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
        span = self._span
        span.name = f"{method} {route}"
        span.attributes["http.route"] = route
        span.attributes["http.response.status_code"] = status
        span.attributes["client.address"] = address
        if status >= 500:
            span.failed(str(status))
        self._tracing.end(span)


class UpstreamSpan:
    """The span of one request to the upstream."""

    __slots__ = ("_span", "_tracing", "traceparent")

    def __init__(self, tracing: Tracing, span: RecordedSpan) -> None:
        self._tracing = tracing
        self._span = span
        context = span.context
        self.traceparent = (
            f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        )
        """The header that is sent to the upstream (Trace Context, 3.2)."""

    def failed(self, kind: str) -> None:
        """Record that no response came."""
        self._span.failed(kind)

    def end(self) -> None:
        """End the span."""
        self._tracing.end(self._span)

    def responded(self, status: int) -> None:
        """Record the status code of the upstream's response."""
        self._span.attributes["http.response.status_code"] = status
        if status >= 400:  # for client spans, the conventions define 4xx as errors too
            self._span.failed(str(status))


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

"""Spans by OpenTelemetry, for those who ask for them (``TRACING``, the extra ``opentelemetry``).

Each request is a server span, each exchange with the upstream a client span below it; the upstream
hears of the latter in ``traceparent``, so that its own spans hang where they belong. Where spans go
and how many are kept say the standard variables: ``OTEL_EXPORTER_OTLP_ENDPOINT``,
``OTEL_TRACES_SAMPLER``, ``OTEL_SERVICE_NAME``, ``OTEL_RESOURCE_ATTRIBUTES``.

Names and attributes follow the semantic conventions for HTTP. Neither queries nor headers are
noted: they may hold a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
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
"""Asked every few seconds by machines: their spans would bury the others."""


def exporter() -> SpanExporter:
    """What sends the spans away. Raises ``ImportError`` where the extra is not installed."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


class Tracing:
    """Makes the spans of one process and hands them over in batches, by a thread."""

    def __init__(self, sink: SpanExporter) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        named = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or "zenzefi"}
        resource = Resource.create({**named, "service.version": __version__})
        # Not the global provider: what else runs in this process has its own affairs.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(sink))
        self._tracer = self._provider.get_tracer("zenzefi", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._scrub = Scrubber()

    def begin(self, request: web.Request) -> ServerSpan:
        """The span of a request that has just come, below the caller's if it named one."""
        from opentelemetry.trace import SpanKind

        carried = {name: value for name in _CARRIED if (value := request.headers.get(name))}
        span = self._tracer.start_span(
            request.method,
            context=self._propagator.extract(carried),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": request.method,
                "url.scheme": request.scheme,
                "url.path": self._scrub(request.rel_url.raw_path),
            },
        )
        return ServerSpan(self, span)

    def toward(self, parent: Span, host: str, port: int, method: str) -> Span:
        """The span of one exchange with the upstream."""
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
        """``traceparent`` (and ``tracestate``) that name this span."""
        from opentelemetry.trace import set_span_in_context

        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span))
        return carrier

    def close(self) -> None:
        """Hand over what is left. May take seconds: not on the event loop."""
        self._provider.shutdown()


class ServerSpan:
    """The span of one request."""

    __slots__ = ("_span", "_tracing", "trace_id")

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self._tracing = tracing
        self._span = span
        self.trace_id = format(span.get_span_context().trace_id, "032x")
        """For the log."""

    @contextlib.contextmanager
    def toward(self, host: str, port: int, method: str) -> Iterator[Exchange]:
        """Around one exchange with the upstream; says what it answered by ``answered``."""
        span = self._tracing.toward(self._span, host, port, method)
        try:
            yield Exchange(span, self._tracing.carried(span)["traceparent"])
        except BaseException as error:
            _failed(span, type(error).__name__)
            raise
        finally:
            span.end()

    def end(self, method: str, route: str, status: int, address: str) -> None:
        """The request is answered. ``route``: its pattern, one of a fixed set."""
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes(
            {"http.route": route, "http.response.status_code": status, "client.address": address}
        )
        if status >= 500:
            _failed(self._span, str(status))
        self._span.end()


class Exchange:
    """One exchange with the upstream, while it goes on."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: Span, traceparent: str) -> None:
        self._span = span
        self.traceparent = traceparent
        """What the upstream is told."""

    def answered(self, status: int) -> None:
        """The upstream's status, as the browser gets it."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= 400:  # for a client span the conventions count 4xx as failures too
            _failed(self._span, str(status))


def _failed(span: Span, kind: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


TRACING: web.AppKey[Tracing] = web.AppKey("tracing", Tracing)
SPAN = web.RequestKey("span", ServerSpan)
"""The span of this request, where spans are made."""


def missing() -> list[str]:
    """What to say when TRACING is on and the extra is not installed."""
    try:
        exporter()
    except ImportError:
        return ["TRACING needs OpenTelemetry: pip install 'zenzefi[opentelemetry]'."]
    return []


def setup(app: web.Application) -> None:
    """Make spans if the settings ask for them. Raises ``SettingsError`` without the extra."""
    if not app[SETTINGS].tracing:
        return
    if problems := missing():
        raise SettingsError(problems)
    tracing: Any = Tracing(exporter())
    app[TRACING] = tracing

    async def life(_: web.Application) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(tracing.close)

    app.cleanup_ctx.append(life)

"""Count, time and log every request, proxied or not, in one place."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import Counter

from zenzefi.http.client_address import client_address_of
from zenzefi.http.request_id import request_id_of
from zenzefi.observability import logs, metrics
from zenzefi.observability.access_log import AccessLog, AccessLogEntry, Subject
from zenzefi.observability.trace_context import CURRENT, Trace, trace_id_of
from zenzefi.observability.tracing import PROBES, SPAN, TRACING
from zenzefi.settings import SETTINGS

PROXIED = web.RequestKey("proxied", bool)
"""Set on a proxied request, at either mount."""

SUBJECT: web.RequestKey[Subject] = web.RequestKey("subject", tuple)
"""Set once the user of a request is known, for the access log."""

BEGUN = web.RequestKey("begun", web.StreamResponse)
"""The response that is being sent, to count its bytes if the client disconnects."""

_CLIENT_GONE = 499  # as nginx logs a client that disconnected; it is never sent


class Tally:
    """Counts of proxied requests without a task, added to the metrics once a second."""

    __slots__ = ("bounds", "buckets", "requests", "seconds", "sent")

    def __init__(self) -> None:
        self.bounds = metrics.LATENCY_BOUNDS
        self.requests: dict[tuple[bytes, int], int] = {}
        self.clear()

    def clear(self) -> None:
        """Set all counts to zero."""
        self.requests.clear()
        self.buckets = [0] * (len(self.bounds) + 1)
        self.sent = 0
        self.seconds = 0.0

    def add(self, method: bytes, status: int, sent: int, seconds: float) -> None:
        """One request; ``seconds`` below 0 leaves the latency out (an event stream)."""
        key = (method, status)
        self.requests[key] = self.requests.get(key, 0) + 1
        self.sent += sent
        if seconds >= 0:
            self.seconds += seconds
            self.buckets[bisect_left(self.bounds, seconds)] += 1


class Observer:
    """Counts and logs completed requests, without formatting or I/O on the request path."""

    def __init__(self, access_log: AccessLog | None) -> None:
        self._access_log = access_log
        self._counters: dict[tuple[str, int], Counter] = {}
        self._sent = metrics.PROXY_BYTES.labels("sent")

    def proxied(self, entry: AccessLogEntry, *, is_stream: bool = False) -> None:
        """A request for the upstream has ended.

        ``is_stream``: a WebSocket or an event stream, whose duration says nothing about speed.
        """
        counter = self._counters.get((entry.method, entry.status))
        if counter is None:
            method = metrics.method_label(entry.method)
            counter = metrics.PROXY_REQUESTS.labels(method, entry.status)
            if method != "other":  # invented methods must not grow this dictionary
                self._counters[method, entry.status] = counter
        counter.inc()
        if entry.sent:
            self._sent.inc(entry.sent)
        if not is_stream:
            metrics.PROXY_LATENCY.observe(entry.seconds)
        if self._access_log is not None:
            self._access_log.add(entry)

    @property
    def access_log(self) -> AccessLog | None:
        """The access log, for the caller of :meth:`tally`; ``None`` if it is disabled."""
        return self._access_log

    def tally(self, tally: Tally) -> None:
        """Add the counts of proxied requests to the metrics, and clear them."""
        for (method, status), count in tally.requests.items():
            label = metrics.method_label(method.decode())
            metrics.PROXY_REQUESTS.labels(label, status).inc(count)
        if tally.sent:
            self._sent.inc(tally.sent)
        metrics.observe_many(metrics.PROXY_LATENCY, tally.buckets, tally.seconds)
        tally.clear()

    def served(self, entry: AccessLogEntry, route: str) -> None:
        """A request for one of the gate's own routes (``route``: its pattern) has ended."""
        method = metrics.method_label(entry.method)
        metrics.GATE_REQUESTS.labels(route, method, entry.status).inc()
        metrics.GATE_LATENCY.observe(entry.seconds)
        if self._access_log is not None:
            self._access_log.add(entry)


OBSERVER: web.AppKey[Observer] = web.AppKey("observer", Observer)


def setup(app: web.Application) -> None:
    """Create the observer; add :func:`observation_middleware` after that of the request ID."""
    settings = app[SETTINGS]
    access_log = None
    if settings.access_log:
        access_log = AccessLog(as_json=logs.is_json(settings), with_ids=settings.access_log_ids)
    app[OBSERVER] = Observer(access_log)

    async def writing(_: web.Application) -> AsyncIterator[None]:
        if access_log is not None:
            access_log.start()
        yield
        if access_log is not None:
            await asyncio.to_thread(access_log.close)

    app.cleanup_ctx.append(writing)


@web.middleware
async def observation_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Observe the final response; it wraps the error mapping."""
    started = time.perf_counter()
    request_id = request_id_of(request)
    tracing = request.app.get(TRACING)
    if tracing is None or request.path in PROBES:
        trace_id = trace_id_of(request.headers.get("traceparent"))
    else:
        begun = getattr(request.protocol, "take_span", None)
        request[SPAN] = (begun is not None and begun(request)) or tracing.begin(
            request.method, request.scheme, request.rel_url.raw_path, request.headers
        )
        trace_id = request[SPAN].trace_id
    CURRENT.set(Trace(request_id, trace_id))
    status, sent, is_stream = _CLIENT_GONE, 0, False
    try:
        response = await handler(request)
        # A buffered body is written after this link, a streamed one has been already.
        status, sent = response.status, response.body_length or response.content_length or 0
        is_stream = status == 101 or response.content_type == "text/event-stream"
        return response
    except web.HTTPException as error:
        status = error.status
        raise
    finally:
        seconds = time.perf_counter() - started
        if status == _CLIENT_GONE and BEGUN in request:
            sent = request[BEGUN].body_length
        observer = request.app[OBSERVER]
        about = AccessLogEntry(
            time.time(),
            "proxy" if PROXIED in request else "gate",
            request.method,
            request.rel_url.raw_path,
            status,
            seconds,
            sent,
            client_address_of(request).address,
            request_id,
            trace_id,
            request.get(SUBJECT, (None, None)),
        )
        if PROXIED in request:
            observer.proxied(about, is_stream=is_stream)
        else:
            observer.served(about, _route(request))
        if SPAN in request:
            route = "proxy" if PROXIED in request else _route(request)
            method = metrics.method_label(request.method)
            request[SPAN].end(method, route, status, about.address)


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"

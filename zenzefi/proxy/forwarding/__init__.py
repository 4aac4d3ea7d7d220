"""Forwarding: requests to the upstream, and all responses back, by callbacks.

Theory of operation
-------------------

A request is admitted at once by a callback, or aiohttp's task awaits its admission, if something
has to be awaited or the request is unusual. From then on there is one program of callbacks, which
sends the request and the response. ``docs/explanation/forwarding.md`` lists the conditions.

States of a request::

    received --admitted at once----------> WAITING --head--------> STREAMING --end--> over
        |                                  ^  |  |                   |   |
        +--> TASK --admission awaited------+  |  +--head--> PARKED --+   +--failure--> closed
              ^                               |
              +--error before the head--------+

- WAITING: for the rate limit, a connection, or the response.
- PARKED: the response waits for the validation of the token or its activation.
- TASK: aiohttp's task. After the admission it awaits the end of the response. A request that fails
  without a task gets one, which responds with the error.

The client gets bytes from one writer at a time:

- aiohttp's task, between requests, and for the gate's own responses. A request is begun here only
  while this task waits for a request, or by this task, which then waits for the end.
- :class:`ForwardingResponse`, from the head of the response to its end. It has one caller: the
  upstream connection that serves the request, or the :class:`RewrittenBody` behind that.
- A splice, for the rest of a large body. It starts when the transport's write buffer is empty, and
  nothing else is written until it ends.

Guarantees:

- Requests are admitted by the same functions, whether at once or by a task. The token, the sign-in,
  the device and the scope are checked for each request.
- A response that is not complete with its head ends when its token ends.
- A request is sent again only if its method is idempotent (RFC 9110, 9.2.2), no byte of a response
  was received, and all of its content that was read is still held.
- A truncated body is never completed. The client's connection is closed instead.
- A response reaches only the request that it belongs to. A connection with unexpected bytes is
  closed, and an error is taken by the identity of the request.
- Callbacks never wait for a free connection, and read ahead of a slower receiver by no more than
  256 kB and one read.

Once a second a sweep reports sessions and metrics, and forgets known requests after a change of the
plugins.

- ``handler``: the client's connection, a subclass of aiohttp's ``RequestHandler``
- ``client_response``: the facts of the request, for its response
- ``known_requests``: header blocks that were admitted before
- ``known_request``: the facts of an admitted request, and its head for the upstream
- ``spans``: the spans of a request, with tracing
- ``head_table``: the head of a response, line by line
- ``receiver``: chooses the receiver of a response
- ``held_response``: a response whose body may pass unchanged
- ``rewritten_response``: a body on its way through the engine
- ``rewritten_types``: the types and headers that need the rewriting engine
- ``handover``: a request that gets a task for its error response
- :mod:`zenzefi.proxy.browser`: the client's connection as the sender of requests and responses
- :mod:`zenzefi.proxy.upstream`: the connections to the upstream
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from zenzefi.bounded import BoundedDict
from zenzefi.http.observation import OBSERVER, Tally
from zenzefi.observability.metrics import CACHE_ENTRIES
from zenzefi.observability.tracing import TRACING, Tracing
from zenzefi.origin import PROXY_PREFIX, Mount
from zenzefi.proxy.forwarding.handler import ForwardingHandler
from zenzefi.proxy.forwarding.head_table import HeadTable
from zenzefi.proxy.forwarding.known_request import KnownRequest
from zenzefi.proxy.forwarding.known_requests import KnownRequests
from zenzefi.proxy.forwarding.mapped_heads import MappedHeads
from zenzefi.proxy.forwarding.rewritten_types import Rewriting
from zenzefi.proxy.forwarding.spans import Spans
from zenzefi.proxy.gate import Gate
from zenzefi.proxy.interfaces import SESSION_TRACKING, SIGN_INS
from zenzefi.proxy.proxy_request import EngineRequest
from zenzefi.proxy.rewriter import Answer
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.response_head import HeadReader, PlainHeadReader
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.checks import REQUEST_SIDE
from zenzefi.rewriting.runtime import WORKER_MARK
from zenzefi.runtime.drain import DRAIN, REQUEST_HANDLER
from zenzefi.settings import SETTINGS

log = logging.getLogger(__name__)


_SWEEP_SECONDS = 1.0
_MAX_TABLES = 32
_PLAIN_HEADS = PlainHeadReader()


class Forwarding:
    """The state of forwarding in one gate: its known requests and counters."""

    def __init__(self, gate: Gate, rewriting: Rewriting, app: web.Application) -> None:
        settings = app[SETTINGS]
        self._gate = gate
        self.http = gate.http
        self.token_validator = gate.token_validator
        self._rewriting = rewriting
        self._generation = rewriting.generation
        self.sessions = app[SESSION_TRACKING]
        self._observer = app[OBSERVER]
        self.access_log = self._observer.access_log
        self.tally = Tally()
        """The served requests since the last report to the metrics."""
        self.to_report: list[KnownRequest] = []
        """Those that have served requests since the last report to the sessions."""
        self.drain = app[DRAIN]
        self._origin = gate.upstream.origin
        self.upstream = gate.upstream
        self._tables: BoundedDict[tuple[Mount, str | None], HeadTable] = BoundedDict(_MAX_TABLES)
        self.mapped_heads = MappedHeads()
        self.known_requests = KnownRequests(
            gate,
            app[SIGN_INS],
            settings.trusted_proxies,
            own_paths(app),
            self.head_reader,
            rewriting,
            is_traced=TRACING in app,
        )
        self.limits = gate.admission.limits
        self.settings = settings
        self.tracing = app.get(TRACING)
        self._is_enabled = settings.fast_lane
        self.maps_alike = False  # whether a mapped head may be used again
        self.has_early = False  # whether plugins may respond instead of the upstream
        self.has_request_side = False  # whether plugins have hooks that only a task can call
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._ids: list[bytes] = []
        self.is_open = False
        """Whether requests may be admitted at once at present."""
        self.served = 0
        """Requests that were served without a task."""
        self.handed_over = 0
        """Requests that failed without a task, and got one."""

    # --- start and stop

    def start(self) -> None:
        """Begin to admit requests at once, and start the sweep."""
        self._sweep()

    async def close(self) -> None:
        """Leave all requests to tasks, and report the last ones."""
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._count()

    def _sweep(self) -> None:
        """Once a second: update the state, report counters."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_SWEEP_SECONDS, self._sweep)
        rewriting = self._rewriting
        if rewriting.generation != self._generation:
            self._generation = rewriting.generation
            self._tables.clear()
            self.known_requests.clear()
            self.mapped_heads.clear()
        self.maps_alike = rewriting.maps_alike
        self.has_early = rewriting.has_hook("early_response")
        self.has_request_side = any(map(rewriting.has_hook, REQUEST_SIDE))
        self._count()
        self.is_open = self._is_enabled

    # --- connections to the upstream

    @property
    def connections(self) -> set[UpstreamConnection]:
        """All open connections to the upstream."""
        return self.upstream.connections

    def start_task(self, coroutine: Coroutine[None, None, None]) -> None:
        """Start a task for something that a request has to wait for."""
        task = asyncio.get_running_loop().create_task(coroutine, name="forwarding")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- for the handlers

    def needs_task(self, known: KnownRequest, method: bytes, target: bytes) -> bool:
        """Whether a plugin has hooks for a request that only a task can call."""
        if not self.has_request_side:
            return False
        request = known.for_engine._replace(method=method.decode(), target=target.decode())
        return self.http.rewriter.needs_task(request)

    def early(self, request: EngineRequest) -> Answer | None:
        """A plugin's response instead of the upstream's, or ``None``."""
        return self.http.rewriter.early(request) if self.has_early else None

    def spans(self, tracing: Tracing, known: KnownRequest, method: bytes, target: bytes) -> Spans:
        """Start the spans of a request."""
        headers, path = known.for_engine.headers, known.path(target)
        return Spans(tracing, self._origin, method.decode(), known.scheme, path, headers)

    def new_request_id(self) -> bytes:
        """Return a request ID: 16 hex digits, as in :mod:`zenzefi.http.request_id`."""
        if not self._ids:
            digits = secrets.token_hex(8 * 256).encode()
            self._ids = [digits[i : i + 16] for i in range(0, len(digits), 16)]
        return self._ids.pop()

    def head_reader(self, request: EngineRequest) -> HeadReader:
        """The reader of the heads of responses to a request that is not known."""
        if WORKER_MARK.decode() in request.target:  # only the engine recognises such a script
            return _PLAIN_HEADS
        key = mount, destination = request.mount, request.headers.get("Sec-Fetch-Dest")
        table = self._tables.get(key)
        if table is None:
            table = self._rewriting.head_table(self._origin, mount, destination)
            self._tables[key] = table
        return table

    def _count(self) -> None:
        """Report the requests served since the last count to sessions and metrics."""
        to_report, self.to_report = self.to_report, []
        for known in to_report:
            self.sessions.note(
                known.access,
                device_id=known.device_id,
                address=known.address,
                agent=known.agent,
                bytes_in=known.unreported_received,
                bytes_out=known.unreported_sent,
                requests=known.unreported_requests,
            )
            known.unreported_requests = known.unreported_received = known.unreported_sent = 0
        self._observer.tally(self.tally)
        CACHE_ENTRIES.labels("mapped_heads").set(len(self.mapped_heads))


def own_paths(app: web.Application) -> frozenset[bytes]:
    """Return the gate's own paths below the prefix, as paths of the upstream."""
    names = set()
    for resource in app.router.resources():
        path = resource.canonical
        if path.startswith(PROXY_PREFIX) and "{" not in path:
            names.add(path[len(PROXY_PREFIX) :].encode())
    return frozenset(names)


FORWARDING = web.AppKey("forwarding", Forwarding)


def setup(app: web.Application, gate: Gate, engine: Engine) -> None:
    """Serve the requests of an application by callbacks. All routes must have been added before."""

    def handler(server: Any, **options: Any) -> RequestHandler:
        return ForwardingHandler(server, forwarding=app[FORWARDING], **options)

    async def lifetime(app: web.Application) -> AsyncIterator[None]:
        forwarding = app[FORWARDING] = Forwarding(
            gate, Rewriting(engine, gate.admission.mappers), app
        )
        forwarding.start()
        yield
        await forwarding.close()

    app[REQUEST_HANDLER] = handler
    app.cleanup_ctx.append(lifetime)

"""Forwarding: requests to the upstream, and all responses back, by callbacks.

Theory of operation
-------------------

A request enters in one of two ways. It needs no task if its header block is unambiguous and its
token is active and in this process's cache (the fast path). All other requests have aiohttp's task,
which awaits what has to be awaited, and sends them (the standard path,
:mod:`zenzefi.proxy.forwarder`). From the head of the response on, both are the same program.
``docs/explanation/forwarding.md`` lists the conditions.

States of a request::

    received --known or admitted--> WAITING --head--------> STREAMING --end--> recorded
        |                              |  |                   |   |
        |                              |  +--head--> PARKED --+   +--failure--> connection closed
        +---not common--> TASK <-------+---------------+
                           |     error before the head was sent, no free connection
                           +--head--> PARKED --> STREAMING --end--> the task goes on

The client gets bytes from one writer at a time:

- aiohttp's task, between requests, and for the gate's own responses. A request is begun only while
  this task waits for one, and the task is woken only after the request was given up.
- :class:`ForwardingResponse`, from the head of the response to its end. It has one caller: the
  upstream connection that serves the request, or the :class:`RewrittenBody` behind that.
- A splice, for the rest of a large body. It starts when the transport's write buffer is empty, and
  nothing else is written until it ends.

Guarantees:

- Both entries admit the same requests and send the same headers, because both call the same
  functions. The token, the sign-in, the device and the scope are checked for each request.
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
- ``upload``: the content of a request that arrives in pieces
- ``client_response``: the facts of the request, for its response
- ``client_content``: passes the content of a request on
- ``known_requests``: header blocks that were admitted before
- ``known_request``: one of them, and the requests made from it
- ``spans``: the spans of a request, with tracing
- ``head_table``: the head of a response, line by line
- ``receiver``: chooses the receiver of a response
- ``held_response``: a response whose body may pass unchanged
- ``rewritten_response``: a body on its way through the engine
- ``rewritten_types``: the types and headers that need the rewriting engine
- ``handover``: a request that gets a task after all
- :mod:`zenzefi.proxy.browser`: the client's connection as the sender of responses
- :mod:`zenzefi.proxy.upstream`: the connections to the upstream
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Coroutine
from typing import Any
from uuid import UUID

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from zenzefi.bounded import BoundedDict
from zenzefi.errors import GateError
from zenzefi.http.observation import OBSERVER, Tally
from zenzefi.observability.tracing import TRACING, Tracing
from zenzefi.origin import PROXY_PREFIX, Mount
from zenzefi.proxy.forwarding.handler import ForwardingHandler
from zenzefi.proxy.forwarding.head_table import HeadTable
from zenzefi.proxy.forwarding.known_request import KnownRequest
from zenzefi.proxy.forwarding.known_requests import KnownRequests
from zenzefi.proxy.forwarding.rewritten_types import Rewriting
from zenzefi.proxy.forwarding.spans import Spans
from zenzefi.proxy.gate import Gate
from zenzefi.proxy.interfaces import SESSION_TRACKING, SIGN_INS
from zenzefi.proxy.proxy_request import EngineRequest
from zenzefi.proxy.rewriter import Answer
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.response_head import HeadReader, PlainHeadReader
from zenzefi.proxy.upstream.slots import Slot
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
    """The fast path of one gate: its known requests, state and counters."""

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
        self.known_requests = KnownRequests(
            gate,
            app[SIGN_INS],
            settings.trusted_proxies,
            own_paths(app),
            self.head_table_of,
            rewriting,
            is_traced=TRACING in app,
        )
        self.limits = gate.admission.limits
        self.settings = settings
        self.tracing = app.get(TRACING)
        self._is_enabled = settings.fast_lane
        self.has_early = False  # whether plugins may respond instead of the upstream
        self.has_request_side = False  # whether plugins have hooks that only a task can call
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._ids: list[bytes] = []
        self.is_open = False
        """Whether requests may take the fast path at present."""
        self.served = 0
        """Requests that the fast path served."""
        self.handed_over = 0
        """Requests that the fast path began and the standard path completes."""

    # --- start and stop

    def start(self) -> None:
        """Open the fast path and start the sweep."""
        self._sweep()

    async def close(self) -> None:
        """Close the fast path and all its connections, and report the last requests."""
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
        self.has_early = rewriting.has_hook("early_response")
        self.has_request_side = any(map(rewriting.has_hook, REQUEST_SIDE))
        self._count()
        self.is_open = self._is_enabled

    # --- connections to the upstream

    @property
    def connections(self) -> set[UpstreamConnection]:
        """All open connections to the upstream."""
        return self.upstream.connections

    def connect(self, handler: ForwardingHandler, token_id: UUID) -> bool:
        """Start opening a connection for a request.

        Returns false if the limit of connections, in total or of this token, is reached: the
        standard path waits for one.
        """
        slot = self.upstream.take_slot(token_id)
        if slot is None:
            return False
        self.start_task(self._connect(handler, handler.exchange, slot))
        return True

    def start_task(self, coroutine: Coroutine[None, None, None]) -> None:
        """Start a task for something that a request has to wait for."""
        task = asyncio.get_running_loop().create_task(coroutine, name="forwarding")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, handler: ForwardingHandler, exchange: object, slot: Slot) -> None:
        try:
            connection = await self.upstream.open(slot)
        except GateError as error:
            if handler.exchange is exchange:
                handler.hand_over(error)
            return
        if handler.exchange is exchange:
            handler.use_connection(connection)
        else:
            connection.slot.make_idle()

    # --- for the handlers

    def needs_task(self, request: EngineRequest) -> bool:
        """Whether a plugin has hooks for a request that only a task can call."""
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
        return self.head_table_of(request.mount, request.headers.get("Sec-Fetch-Dest"))

    def head_table_of(self, mount: Mount, destination: str | None) -> HeadReader:
        """The reader of the heads of responses at ``mount`` to requests for ``destination``."""
        key = (mount, destination)
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
    """Put the fast path in front of an application. All routes must have been added before."""

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

"""The fast fast_path: the common request served with as little machinery as there can be.

A request is common when its header block is usual, its token is known to this process, runs, and
nothing about its answer has to be rewritten. Such a request is served by callbacks from socket to
socket. All others take the standard path (``zenzefi.proxy.forwarder``), before they were sent on or
after the head of their response has come. ``docs/explanation/fast-path.md`` tells the whole story.

- ``handler``: the browser's side, a subclass of aiohttp's ``RequestHandler``
- ``known``: who asks, recognised by the bytes of the header block
- ``connection``: the upstream's side, a pool and the framing of answers
- ``answer``: the head of an answer, line by line
- ``handover``: an answer that is unusual, on its way to the standard path
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import UUID

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from zenzefi.bounded import BoundedDict
from zenzefi.errors import GateError, UpstreamFailed
from zenzefi.http.observation import OBSERVER, Tally
from zenzefi.http.request_handler import STALL_SECONDS
from zenzefi.observability.access_log import AccessLogEntry
from zenzefi.origin import PROXY_PREFIX, Mount
from zenzefi.proxy.errors import UpstreamTimeout
from zenzefi.proxy.fast_path.connection import FastPathConnection
from zenzefi.proxy.fast_path.handler import FastPathHandler
from zenzefi.proxy.fast_path.head_table import HeadTable
from zenzefi.proxy.fast_path.known_requests import KnownRequest, KnownRequests
from zenzefi.proxy.gate import Gate
from zenzefi.proxy.headers.rules import RESPONSE_RULES, Verb
from zenzefi.proxy.interfaces import SIGN_INS
from zenzefi.proxy.upstream.connecting import check_pin
from zenzefi.proxy.upstream.pool import IDLE_SECONDS
from zenzefi.proxy.upstream.slots import Slot
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.headers import TABLE
from zenzefi.runtime import descriptors
from zenzefi.runtime.drain import DRAIN, REQUEST_HANDLER, Drain
from zenzefi.settings import SETTINGS

log = logging.getLogger(__name__)


_REST_SECONDS = 60.0
_MAX_TABLES = 32
_HOOKS = ("request_headers", "response_headers", "early_response")
# Only the engine can map these. What the proxy's own table drops never comes so far.
_ENGINE_NAMES = frozenset(
    row.name.lower().encode() for row in TABLE if row.verb != "keep"
) - frozenset(rule.name.encode() for rule in RESPONSE_RULES if rule.verb is Verb.DROP)


class Rewriting:
    """What the fast path must know of the engine: when it has to keep away."""

    def __init__(self, engine: Engine | None) -> None:
        self._engine = engine

    @property
    def generation(self) -> int:
        """Changes when plugins were reloaded."""
        return self._engine.registry.generation if self._engine else 0

    @property
    def has_hooks(self) -> bool:
        """Whether a plugin looks at heads, so that no request may pass it by."""
        if self._engine is None:
            return False
        registry = self._engine.registry
        return any(map(registry.with_hook, _HOOKS))

    def is_claimed(self, content_type: str, destination: str | None) -> bool:
        """Whether any plugin might want a body of this label."""
        return self._engine is not None and self._engine.may_rewrite(content_type, destination)


class FastPath:
    """The fast path of one gate: who is known, and the connections to the upstream."""

    def __init__(self, gate: Gate, rewriting: Rewriting, app: web.Application) -> None:
        settings = app[SETTINGS]
        self._gate = gate
        self._settings = settings
        self.token_validator = gate.token_validator
        self._rewriting = rewriting
        self._generation = rewriting.generation
        self._observer = app.get(OBSERVER)
        self._access_log = self._observer.access_log if self._observer else None
        self._tally = Tally()
        self._seen: list[KnownRequest] = []  # since the last count
        self.drain = app.get(DRAIN) or Drain()
        self._origin = gate.upstream.origin
        self.upstream = gate.upstream
        self._budget = gate.upstream.budget
        self._pool = self._budget.pool()
        self._tls = gate.upstream.tls
        self._connect_timeout = settings.upstream_connect_timeout
        self._read_timeout = settings.upstream_read_timeout
        self._interval = min(1.0, self._read_timeout / 4)
        self._tables: BoundedDict[tuple[Mount, str | None], HeadTable] = BoundedDict(_MAX_TABLES)
        self.known_requests = KnownRequests(
            gate, app[SIGN_INS], settings.trusted_proxies, own_paths(app), self._rows_of
        )
        self.connections: set[FastPathConnection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._rests = 0.0
        self._ids: list[bytes] = []
        self.is_open = False
        """Whether requests may take the fast path now."""
        self.served = 0
        """Answers that left by the fast_path."""
        self.handed_over = 0
        """Requests that the fast path began and the standard path finished."""

    # --- life

    def start(self) -> None:
        """Open the fast_path."""
        self._sweep()

    async def close(self) -> None:
        """Close it and every connection."""
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
        for task in self._connecting:
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for connection in list(self.connections):
            connection.abandon()
        await asyncio.sleep(0)
        self._count()

    def rest(self) -> None:
        """The upstream's heads are sloppy: leave it to the standard path for a while."""
        log.warning("the upstream's answers are not strictly HTTP: the fast path rests")
        self._rests = asyncio.get_running_loop().time() + _REST_SECONDS
        self.is_open = False

    def _sweep(self) -> None:
        """Once a second: silent upstreams, idle connections, changed plugins."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._interval, self._sweep)
        rewriting = self._rewriting
        if rewriting.generation != self._generation:
            self._generation = rewriting.generation
            self._tables.clear()
            self.known_requests.forget()
        self._count()
        self.is_open = (
            not rewriting.has_hooks
            and loop.time() >= self._rests
            and self._settings.rate_limit_proxy == "off"  # only the standard path counts requests
        )
        for connection in list(self.connections):
            connection.quiet += 1
            silent = (connection.quiet - 1) * self._interval
            if not connection.is_busy:
                if silent >= IDLE_SECONDS:
                    connection.abandon()
            elif connection.is_paused:
                if silent >= STALL_SECONDS:
                    connection.time_out()
            elif silent >= self._read_timeout:
                connection.time_out()

    # --- connections to the upstream

    def take(self, token_id: UUID) -> FastPathConnection | None:
        """A pooled connection, if this token may have one."""
        while (slot := self._budget.take_idle(token_id, self._pool)) is not None:
            connection = cast(FastPathConnection, slot.connection)  # the pool holds nothing else
            if not connection.transport.is_closing():
                connection.is_reused = True
                return connection
            slot.closing()
        return None

    def give_back(self, connection: FastPathConnection) -> None:
        """Its exchange is over and another one may follow."""
        self._budget.make_idle(connection.slot)

    def forget(self, connection: FastPathConnection) -> None:
        """It is closed."""
        self.connections.discard(connection)
        connection.slot.closed()

    def connect(self, handler: FastPathHandler, token_id: UUID) -> bool:
        """Make a connection for a request.

        False if there are too many already, of this token or in all: the standard path waits.
        """
        slot = self._budget.take_new(token_id, self._pool)
        if slot is None:
            return False
        task = asyncio.get_running_loop().create_task(
            self._connect(handler, handler.exchange, slot), name="fast path: connect to upstream"
        )
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return True

    async def _connect(self, handler: FastPathHandler, exchange: object, slot: Slot) -> None:
        tls = self._tls
        made: list[FastPathConnection] = []

        def protocol() -> FastPathConnection:
            made.append(FastPathConnection(self, slot))
            return made[-1]

        try:
            descriptors.require_descriptors()
            async with asyncio.timeout(self._connect_timeout):
                transport, connection = await asyncio.get_running_loop().create_connection(
                    protocol,
                    self._origin.host.strip("[]"),
                    self._origin.port,
                    ssl=tls.context if tls else None,
                )
            check_pin(tls, transport)
        except BaseException as error:
            if made and made[-1] in self.connections:
                made[-1].abandon()
            else:
                slot.closed()
            # The standard path tries for itself, and says what is wrong.
            if handler.exchange is exchange and isinstance(error, Exception):
                is_late = isinstance(error, TimeoutError)
                handler.hand_over(UpstreamTimeout() if is_late else None)
            if not isinstance(error, (OSError, UpstreamFailed)):
                raise
        else:
            if handler.exchange is exchange:
                handler.go_on(connection)
            else:
                self.give_back(connection)

    # --- what the handlers ask

    def fresh_id(self) -> bytes:
        """A request id: 16 hex digits, as :mod:`zenzefi.http.request_id` makes them."""
        if not self._ids:
            digits = secrets.token_hex(8 * 256).encode()
            self._ids = [digits[i : i + 16] for i in range(0, len(digits), 16)]
        return self._ids.pop()

    def _rows_of(self, mount: Mount, destination: str | None) -> HeadTable:
        key = (mount, destination)
        rows = self._tables.get(key)
        if rows is None:

            def is_claimed(content_type: bytes) -> bool:
                label = content_type.decode("utf-8", "surrogateescape")
                return self._rewriting.is_claimed(label, destination)

            rows = HeadTable(self._origin, mount, is_claimed, _ENGINE_NAMES)
            self._tables[key] = rows
        return rows

    def note(
        self,
        known: KnownRequest,
        method: bytes,
        target: bytes,
        request_id: bytes,
        status: int,
        sent: int,
        seconds: float,
    ) -> None:
        """Count one request that the fast path served (``seconds`` from head to end)."""
        self.served += 1
        if not known.uncounted:
            self._seen.append(known)
        known.uncounted += 1
        known.unsent += sent
        self._tally.add(method, status, sent, -1 if known.is_stream else seconds)
        if self._access_log is not None:
            path = target.partition(b"?")[0].decode()
            self._access_log.add(
                AccessLogEntry(
                    time.time(),
                    "proxy",
                    method.decode(),
                    path if known.is_own_origin else PROXY_PREFIX + path,
                    status,
                    seconds,
                    sent,
                    known.address,
                    request_id.decode(),
                    (self.fresh_id() + self.fresh_id()).decode(),
                )
            )

    def _count(self) -> None:
        """Tell sessions and metrics what was served since the last time."""
        seen, self._seen = self._seen, []
        for known in seen:
            self._gate._sessions.note(
                known.access,
                device_id=known.device_id,
                address=known.address,
                agent=known.agent,
                bytes_in=0,
                bytes_out=known.unsent,
                requests=known.uncounted,
            )
            known.uncounted = known.unsent = 0
        if self._observer is not None:
            self._observer.tally(self._tally)
        else:
            self._tally.clear()

    def log_broken(self, error: GateError) -> None:
        """The body of an answer broke off."""
        log.warning("upstream's body broke off: %s", error.code)


def own_paths(app: web.Application) -> frozenset[bytes]:
    """The gate's own paths below the prefix, as the upstream would see them."""
    names = set()
    for resource in app.router.resources():
        path = resource.canonical
        if path.startswith(PROXY_PREFIX) and "{" not in path:
            names.add(path[len(PROXY_PREFIX) :].encode())
    return frozenset(names)


FAST_PATH = web.AppKey("fast_lane", FastPath)


def setup(app: web.Application, gate: Gate, engine: Engine | None) -> None:
    """Put the fast path in front of an application whose routes are all there."""

    def handler(server: Any, **options: Any) -> RequestHandler:
        return FastPathHandler(server, fast_path=app[FAST_PATH], **options)

    async def lifetime(app: web.Application) -> AsyncIterator[None]:
        fast_path = app[FAST_PATH] = FastPath(gate, Rewriting(engine), app)
        fast_path.start()
        yield
        await fast_path.close()

    app[REQUEST_HANDLER] = handler
    app.cleanup_ctx.append(lifetime)

"""The pool of connections to the upstream. Only the configured origin is ever connected.

:mod:`zenzefi.proxy.upstream.budget` limits the connections of this pool and of the fast path's pool
together. Connections that :mod:`zenzefi.proxy.upstream.connection_auth` recognises as authenticated
are not shared: they belong to one client's connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from zenzefi.errors import GateError
from zenzefi.observability.metrics import (
    UPSTREAM_CONNECTIONS,
    UPSTREAM_QUEUE,
    UPSTREAM_QUEUE_SECONDS,
    UPSTREAM_REFUSED,
)
from zenzefi.origin import Origin
from zenzefi.proxy.errors import TooManyConnections, UpstreamBusy, UpstreamUnreachable
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.upstream.budget import ConnectionBudget
from zenzefi.proxy.upstream.connecting import check_pin, connect_error, keep_alive
from zenzefi.proxy.upstream.connection_auth import is_challenged
from zenzefi.proxy.upstream.exchange import RequestBody, UpstreamExchange
from zenzefi.proxy.upstream.http_connection import HttpConnection
from zenzefi.proxy.upstream.limits import TOKEN_REASONS, Limits, Reason, Refused
from zenzefi.proxy.upstream.ownership import ClientConnection, ConnectionOwner
from zenzefi.proxy.upstream.slots import Slot
from zenzefi.runtime import descriptors
from zenzefi.tokens.open_connections import ClientIdentity
from zenzefi.upstream_tls import UpstreamTls

log = logging.getLogger(__name__)

IDLE_SECONDS = 25.0
"""How long a pooled connection may be idle; below the usual keep-alive timeouts of servers."""
_SWEEP_SECONDS = 1.0
LONG_LIVED_SECONDS = 10.0
"""A request that lasts longer is counted as long-lived."""


@dataclass(frozen=True, slots=True)
class ConnectionPurpose:
    """The client and the use of a connection that is requested from the pool."""

    token_id: UUID
    identity: ClientIdentity
    client: ClientConnection | None
    """The client's connection; ``None`` if several clients share it (that of a reverse proxy)."""
    recheck: Callable[[], Awaitable[None]]
    """Called after a wait for a connection; raises if the token has ended meanwhile."""
    is_long_lived: bool = False
    """Long-lived from the start: a WebSocket or an ``EventSource``."""
    is_authenticating: bool = False
    """Carries credentials for the connection (:mod:`zenzefi.proxy.upstream.connection_auth`)."""


class Upstream:
    """The connections to one upstream."""

    def __init__(
        self,
        origin: Origin,
        *,
        tls: UpstreamTls | None,
        connect_timeout: float,
        read_timeout: float,
        queue_timeout: float,
        limits: Limits,
    ) -> None:
        """Timeouts in seconds: to connect, between two reads, and to wait for a connection."""
        self.origin = origin
        self.read_timeout = read_timeout
        self.budget = ConnectionBudget(limits, time.monotonic)
        self.tls = tls if origin.scheme == "https" else None
        self._connect_timeout = connect_timeout
        self._queue_timeout = queue_timeout
        self._pool = self.budget.pool()
        self._open: set[HttpConnection] = set()
        self._timer: asyncio.TimerHandle | None = None

    # --- life

    def start(self) -> None:
        """Sweep once a second: recharge requests that last, and update the metrics."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_SWEEP_SECONDS, self.start)
        budget = self.budget
        budget.sweep(LONG_LIVED_SECONDS)
        UPSTREAM_CONNECTIONS.labels("short").set(budget.short)
        UPSTREAM_CONNECTIONS.labels("long_lived").set(budget.long_lived)
        UPSTREAM_CONNECTIONS.labels("idle").set(budget.idle)
        UPSTREAM_QUEUE.set(budget.waiting)

    async def close(self) -> None:
        """Close all connections."""
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self._open):
            self._discard(connection)
        await asyncio.sleep(0)

    # --- getting a connection

    async def acquire(self, purpose: ConnectionPurpose, *, fresh: bool = False) -> HttpConnection:
        """A connection for one exchange; :meth:`release` ends its use.

        It is the one that belongs to the client's connection, if any, else a pooled or a new one.
        Waits if the limit is reached. Raises :class:`UpstreamUnreachable`,
        :class:`UpstreamTimeout`, :class:`UpstreamBusy`, :class:`TooManyConnections`,
        :class:`TooManyOpenFiles`, or what ``purpose.recheck`` raises.
        """
        owned = self._owned(purpose)
        if owned is not None:
            return owned
        # A pooled connection may be closed already, and these credentials must not be sent twice.
        fresh = fresh or purpose.is_authenticating
        while True:
            slot = await self._slot(purpose, fresh=fresh)
            connection = slot.connection
            if not isinstance(connection, HttpConnection):
                connection = await self._connect(slot)
                connection.is_private = purpose.is_authenticating
                return connection
            connection.wake()
            if connection.is_usable:
                connection.is_reused = True
                return connection
            self._discard(connection)

    def _owned(self, purpose: ConnectionPurpose) -> HttpConnection | None:
        """The connection that belongs to the client's connection, if it is this token's."""
        client = purpose.client
        connection = client.owned if client is not None else None
        if client is None or not isinstance(connection, HttpConnection):
            return None
        owner = ConnectionOwner(client, purpose.token_id, purpose.identity)
        if connection.owner == owner and connection.is_usable:
            connection.wake()
            connection.is_reused = True
            return connection
        was_lost = connection.owner == owner
        self._discard(connection)
        if was_lost and purpose.is_authenticating:
            client.close_when_done()  # a new connection begins the handshake from its start
            raise UpstreamUnreachable
        return None

    async def _slot(self, purpose: ConnectionPurpose, *, fresh: bool) -> Slot:
        budget, token = self.budget, purpose.token_id
        is_long_lived = purpose.is_long_lived
        try:
            slot = budget.take(token, self._pool, is_fresh=fresh, is_long_lived=is_long_lived)
            if slot is not None:
                return slot
            loop = asyncio.get_running_loop()
            granted: asyncio.Future[None] = loop.create_future()

            def grant(_slot: Slot) -> None:
                if not granted.done():
                    granted.set_result(None)

            waiter = budget.wait(
                token, self._pool, grant, is_fresh=fresh, is_long_lived=is_long_lived
            )
        except Refused as refused:
            raise refusal(refused.reason) from None
        began = loop.time()
        try:
            with contextlib.suppress(TimeoutError):  # a slot granted at the same time is used
                async with asyncio.timeout(self._queue_timeout):
                    await granted
            if waiter.slot is None:
                raise refusal(budget.withdraw(waiter))
            await purpose.recheck()
        except BaseException:
            budget.withdraw(waiter)
            if waiter.slot is not None:
                _return_slot(waiter.slot)
            raise
        finally:
            UPSTREAM_QUEUE_SECONDS.observe(loop.time() - began)
        return waiter.slot

    async def _connect(self, slot: Slot) -> HttpConnection:
        loop = asyncio.get_running_loop()
        made: list[HttpConnection] = []

        def protocol() -> HttpConnection:
            made.append(HttpConnection(loop, slot))
            return made[-1]

        try:
            async with asyncio.timeout(self._connect_timeout):
                transport, connection = await self._dial(protocol)
        except BaseException as error:
            # A connection that was open for a moment frees its slot when it is closed.
            if not made or made[-1].transport is None:
                slot.closed()
            else:
                made[-1].abort()
            raise connect_error(error) from None
        keep_alive(transport)
        try:
            check_pin(self.tls, transport)
        except UpstreamUnreachable:
            log.warning("certificate of the upstream does not match the pinned one")
            connection.abort()
            raise
        self._open.add(connection)
        return connection

    async def _dial(
        self, protocol: Callable[[], HttpConnection]
    ) -> tuple[asyncio.BaseTransport, HttpConnection]:
        descriptors.require_descriptors()
        return await asyncio.get_running_loop().create_connection(
            protocol,
            self.origin.host.strip("[]"),
            self.origin.port,
            ssl=self.tls.context if self.tls else None,
        )

    # --- returning a connection

    def release(self, connection: HttpConnection, *, reusable: bool) -> None:
        """End the use of a connection from :meth:`acquire`."""
        owner = connection.owner
        if owner is not None:
            if reusable and connection.is_usable:
                connection.is_idle = True
                return
            self._discard(connection)
            owner.client.close_when_done()  # both connections end together
            return
        if not reusable or connection.is_private or not connection.is_usable:
            self._discard(connection)
            return
        connection.is_idle = True
        connection.expiry = asyncio.get_running_loop().call_later(
            IDLE_SECONDS, self._expire, connection
        )
        connection.slot.make_idle()

    def adopt(self, transport: asyncio.Transport, slot: Slot, owner: ConnectionOwner) -> None:
        """Make a connection of the fast path belong to a client's connection.

        It must be between two exchanges. It is closed if the token's account is full.
        """
        try:
            slot.make_long_lived()
        except Refused as refused:
            UPSTREAM_REFUSED.labels(refused.reason).inc()
            slot.closing()
            transport.abort()
            return
        connection = HttpConnection(asyncio.get_running_loop(), slot)
        connection.connection_made(transport)
        transport.set_protocol(connection)
        connection.belong_to(owner)
        connection.is_idle = True
        self._open.add(connection)

    def _expire(self, connection: HttpConnection) -> None:
        if connection.is_idle:
            self._discard(connection)

    def _discard(self, connection: HttpConnection) -> None:
        connection.disown()
        connection.wake()
        self._open.discard(connection)
        connection.slot.closing()
        connection.abort()

    # --- exchanges

    async def send(
        self,
        method: str,
        head: bytes,
        body: RequestBody | None,
        on_interim: Callable[[int, Pairs], None],
        purpose: ConnectionPurpose,
    ) -> UpstreamExchange:
        """Send one request and wait for the head of the response.

        A GET or HEAD without content is sent once more on a fresh connection if a reused one was
        closed before any byte of a response arrived (RFC 9112, 9.3.1), unless the request
        authenticates the connection. ``on_interim`` receives 1xx responses. Raises the errors of
        :meth:`acquire` and of ``body.read``, and :class:`UpstreamProtocolError`.
        """
        connection = await self.acquire(purpose)
        exchange = UpstreamExchange(self, connection)
        try:
            await exchange.start(method, head, body, on_interim)
        except UpstreamUnreachable:
            retry = connection.is_reused and not connection.got_bytes
            await exchange.close()
            if not retry or body is not None or method not in ("GET", "HEAD"):
                raise
            if purpose.is_authenticating:
                raise
        except BaseException:
            await exchange.close()
            raise
        else:
            await self.settle(exchange, purpose)
            return exchange
        exchange = UpstreamExchange(self, await self.acquire(purpose, fresh=True))
        try:
            await exchange.start(method, head, body, on_interim)
        except BaseException:
            await exchange.close()
            raise
        await self.settle(exchange, purpose)
        return exchange

    async def settle(self, exchange: UpstreamExchange, purpose: ConnectionPurpose) -> None:
        """Recharge the connection and set its owner, as the response's head requires.

        Raises :func:`refusal`'s error if it has to be long-lived and there is no room.
        """
        connection = exchange.connection
        try:
            if connection.owner is None and (
                purpose.is_authenticating or is_challenged(exchange.headers)
            ):
                connection.is_private = True
                if purpose.client is not None and not purpose.client.is_lost:
                    connection.slot.make_long_lived()
                    connection.belong_to(
                        ConnectionOwner(purpose.client, purpose.token_id, purpose.identity)
                    )
            if is_event_stream(exchange.headers):
                connection.slot.make_long_lived()
        except Refused as refused:
            await exchange.close()
            raise refusal(refused.reason) from None


def refusal(reason: Reason) -> GateError:
    """Count a refusal; returns the error for the client: 429 for its own limit, else 503."""
    UPSTREAM_REFUSED.labels(reason).inc()
    return TooManyConnections() if reason in TOKEN_REASONS else UpstreamBusy()


def is_event_stream(headers: Pairs) -> bool:
    """Whether a response's headers announce an event stream (WHATWG HTML, 9.2)."""
    return any(
        name.lower() == b"content-type" and value.strip().lower().startswith(b"text/event-stream")
        for name, value in headers
    )


def _return_slot(slot: Slot) -> None:
    """Return a slot that was granted to a request which no longer needs it."""
    if slot.connection is None:
        slot.closed()
    else:
        slot.make_idle()

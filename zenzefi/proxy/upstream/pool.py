"""The connections to the upstream. Only the configured origin is ever connected.

How many there may be, and whose turn it is, :mod:`zenzefi.proxy.upstream.budget` decides, for
this pool and for the fast path's together. Which connections must not be shared,
:mod:`zenzefi.proxy.upstream.connection_auth` says: they stay with one client's connection.
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
from zenzefi.proxy.headers.rules import Pairs
from zenzefi.proxy.upstream.budget import (
    TOKEN_REASONS,
    ConnectionBudget,
    Limits,
    Reason,
    Refused,
    Slot,
)
from zenzefi.proxy.upstream.connecting import Tls, connect_error, keep_alive
from zenzefi.proxy.upstream.connection_auth import is_challenged
from zenzefi.proxy.upstream.exchange import HttpConnection, RequestBody, UpstreamExchange
from zenzefi.proxy.upstream.ownership import ClientConnection, ConnectionOwner
from zenzefi.runtime import descriptors
from zenzefi.tokens.open_connections import ClientIdentity

log = logging.getLogger(__name__)

_IDLE_SECONDS = 25.0  # a pooled connection; below the usual keep-alive limits of servers
_SWEEP_SECONDS = 1.0
LONG_LIVED_SECONDS = 10.0
"""A request that lasts longer is counted as a long-lived one."""


@dataclass(frozen=True, slots=True)
class ConnectionPurpose:
    """Whom a connection is for, and for what."""

    token_id: UUID
    who: ClientIdentity
    client: ClientConnection | None
    """The client's connection; ``None`` where several clients share it (a reverse proxy's)."""
    recheck: Callable[[], Awaitable[None]]
    """Asked after waiting for a connection; raises if the token has ended meanwhile."""
    is_long_lived: bool = False
    """Known beforehand to last: a WebSocket, an ``EventSource``."""
    is_authenticating: bool = False
    """Carries credentials for the connection (:mod:`zenzefi.proxy.upstream.connection_auth`)."""


class Upstream:
    """The connections to one upstream."""

    def __init__(
        self,
        origin: Origin,
        *,
        tls: Tls | None,
        connect_timeout: float,
        read_timeout: float,
        queue_timeout: float,
        limits: Limits,
    ) -> None:
        """Time-outs in seconds: to connect, of silence, and of waiting for a connection."""
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
        """Begin the once-a-second sweep: what lasts becomes long-lived, and metrics follow."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_SWEEP_SECONDS, self.start)
        budget = self.budget
        budget.sweep(LONG_LIVED_SECONDS)
        UPSTREAM_CONNECTIONS.labels("short").set(budget.short)
        UPSTREAM_CONNECTIONS.labels("long_lived").set(budget.long_lived)
        UPSTREAM_CONNECTIONS.labels("idle").set(budget.idle)
        UPSTREAM_QUEUE.set(budget.waiting)

    async def close(self) -> None:
        """Close everything."""
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self._open):
            self._discard(connection)
        await asyncio.sleep(0)

    # --- getting a connection

    async def acquire(self, purpose: ConnectionPurpose, *, fresh: bool = False) -> HttpConnection:
        """A connection for one exchange; :meth:`release` ends its use.

        The one that belongs to the client's connection, if there is one, else a pooled or a new
        one. Waits if there are too many. Raises :class:`UpstreamUnreachable`,
        :class:`UpstreamTimeout`, :class:`UpstreamBusy`, :class:`TooManyConnections`,
        :class:`TooManyOpenFiles`, or what ``purpose.recheck`` raises.
        """
        owned = self._owned(purpose)
        if owned is not None:
            return owned
        # A pooled connection may be dead, and these credentials must not be sent twice.
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
        owner = ConnectionOwner(client, purpose.token_id, purpose.who)
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
            with contextlib.suppress(TimeoutError):  # a slot that came at the same time is taken
                async with asyncio.timeout(self._queue_timeout):
                    await granted
            if waiter.slot is None:
                raise refusal(budget.withdraw(waiter))
            await purpose.recheck()
        except BaseException:
            budget.withdraw(waiter)
            if waiter.slot is not None:
                _give_back(waiter.slot)
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
            # One that was open for a moment frees its slot when it is closed.
            if not made or made[-1].transport is None:
                slot.closed()
            else:
                made[-1].abort()
            raise connect_error(error) from None
        keep_alive(transport)
        if self.tls is not None:
            try:
                self.tls.check(transport)
            except UpstreamUnreachable:
                log.warning("the upstream's certificate is not the pinned one")
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

    # --- giving it back

    def release(self, connection: HttpConnection, *, reusable: bool) -> None:
        """Take back a connection that :meth:`acquire` gave."""
        owner = connection.owner
        if owner is not None:
            if reusable and connection.is_usable:
                connection.is_idle = True
                return
            self._discard(connection)
            owner.client.close_when_done()  # as if both were one connection
            return
        if not reusable or connection.is_private or not connection.is_usable:
            self._discard(connection)
            return
        connection.is_idle = True
        connection.expiry = asyncio.get_running_loop().call_later(
            _IDLE_SECONDS, self._expire, connection
        )
        connection.slot.make_idle()

    def adopt(self, transport: asyncio.Transport, slot: Slot, owner: ConnectionOwner) -> None:
        """Let a connection of the fast path belong to a client's connection from now on.

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

        A GET or HEAD without content that died on a reused connection before any byte of a
        response came is sent once more on a fresh one (RFC 9112, 9.3.1), unless it authenticates
        the connection. ``on_interim`` gets 1xx responses. Raises what :meth:`acquire` raises,
        :class:`UpstreamProtocolError`, or what ``body.read`` raised.
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
        """Decide by the response's head what becomes of the connection.

        Raises what :func:`refusal` makes if it would have to be a long-lived one and must not.
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
                        ConnectionOwner(purpose.client, purpose.token_id, purpose.who)
                    )
            if is_event_stream(exchange.headers):
                connection.slot.make_long_lived()
        except Refused as refused:
            await exchange.close()
            raise refusal(refused.reason) from None


def refusal(reason: Reason) -> GateError:
    """What a client is told, counted: its own doing is 429, anything else 503."""
    UPSTREAM_REFUSED.labels(reason).inc()
    return TooManyConnections() if reason in TOKEN_REASONS else UpstreamBusy()


def is_event_stream(headers: Pairs) -> bool:
    """Whether a response's headers say that it lasts (WHATWG HTML, 9.2)."""
    return any(
        name.lower() == b"content-type" and value.strip().lower().startswith(b"text/event-stream")
        for name, value in headers
    )


def _give_back(slot: Slot) -> None:
    """A slot that was granted to a request which no longer wants it."""
    if slot.connection is None:
        slot.closed()
    else:
        slot.make_idle()

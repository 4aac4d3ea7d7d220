"""The pool of connections to the upstream. Only the configured origin is ever connected.

All requests share it within the limits of :mod:`zenzefi.proxy.upstream.budget`. Connections that
:mod:`zenzefi.proxy.upstream.connection_auth` recognises as authenticated are not shared: they
belong to one client's connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from zenzefi.deadline import Deadline
from zenzefi.observability.metrics import (
    UPSTREAM_CONNECTIONS,
    UPSTREAM_QUEUE,
    UPSTREAM_QUEUE_SECONDS,
)
from zenzefi.origin import Origin
from zenzefi.proxy.errors import UpstreamUnreachable
from zenzefi.proxy.upstream.budget import ConnectionBudget
from zenzefi.proxy.upstream.connecting import check_pin, connect_error, keep_alive
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.dialing import dial
from zenzefi.proxy.upstream.limits import Limits, Refused
from zenzefi.proxy.upstream.ownership import ClientConnection, ConnectionOwner
from zenzefi.proxy.upstream.refusal import refusal
from zenzefi.proxy.upstream.response_head import SLOPPY_SECONDS
from zenzefi.proxy.upstream.slots import Slot
from zenzefi.runtime import descriptors
from zenzefi.tokens.open_connections import ClientIdentity
from zenzefi.upstream_tls import UpstreamTls

log = logging.getLogger(__name__)

_SWEEP_SECONDS = 1.0
IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
"""Methods that may be repeated (RFC 9110, 9.2.2). The gate sends no TRACE."""
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

    def owner(self) -> ConnectionOwner | None:
        """The owner of a connection that must not be shared, if it may have one."""
        if self.client is None or self.client.is_lost:
            return None
        return ConnectionOwner(self.client, self.token_id, self.identity)


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
        self._timer: asyncio.TimerHandle | None = None
        self._interval = min(_SWEEP_SECONDS, read_timeout / 4)
        self._sloppy_until = 0.0
        self.connections: set[UpstreamConnection] = set()
        """All open connections, without those of WebSockets."""

    # --- life

    def start(self) -> None:
        """Sweep at least once a second: timeouts, requests that last, and metrics."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._interval, self.start)
        for connection in list(self.connections):
            connection.sweep(self._interval, self.read_timeout)
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
        for connection in list(self.connections):
            connection.abandon()
        await asyncio.sleep(0)

    def note_sloppy(self) -> None:
        """Remember that the upstream writes heads which only the lenient parser accepts."""
        now = time.monotonic()
        if now >= self._sloppy_until:
            log.warning("malformed response heads from the upstream, read leniently")
        self._sloppy_until = now + SLOPPY_SECONDS

    # --- getting a connection

    def take(self, token: UUID) -> UpstreamConnection | None:
        """A pooled connection for a short request, if there is one and the token may have it."""
        while (slot := self.budget.take_idle(token, self._pool)) is not None:
            connection = cast(UpstreamConnection, slot.connection)  # the pool has no other kind
            if not connection.transport.is_closing():
                connection.is_reused = True
                return connection
            slot.closing()
        return None

    async def acquire(
        self, purpose: ConnectionPurpose, *, fresh: bool = False
    ) -> UpstreamConnection:
        """A connection for one exchange.

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
            if not isinstance(connection, UpstreamConnection):
                connection = await self.open(slot)
                connection.is_private = purpose.is_authenticating
                return connection
            if connection.is_usable:
                connection.is_reused = True
                return connection
            connection.abandon()

    def _owned(self, purpose: ConnectionPurpose) -> UpstreamConnection | None:
        """The connection that belongs to the client's connection, if it is this token's."""
        client = purpose.client
        connection = client.owned if client is not None else None
        if client is None or not isinstance(connection, UpstreamConnection):
            return None
        is_same = connection.owner == purpose.owner()
        if is_same and connection.is_usable:
            connection.is_reused = True
            return connection
        connection.disown()
        connection.abandon()
        if is_same and purpose.is_authenticating:
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
                async with Deadline(self._queue_timeout):
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

    async def open(self, slot: Slot) -> UpstreamConnection:
        """Open the connection of a slot.

        Raises the errors of connecting (:meth:`acquire`); the slot is closed then.
        """
        host = self.origin.host.strip("[]")
        sock: socket.socket | None = None
        made: list[UpstreamConnection] = []

        def protocol() -> UpstreamConnection:
            made.append(UpstreamConnection(self, slot))
            return made[-1]

        try:
            descriptors.require_descriptors()
            async with Deadline(self._connect_timeout):
                sock = await dial(host, self.origin.port)
                transport, connection = await asyncio.get_running_loop().create_connection(
                    protocol,
                    sock=sock,
                    ssl=self.tls.context if self.tls else None,
                    server_hostname=host if self.tls else None,
                )
            check_pin(self.tls, transport)
        except BaseException as error:
            if sock is not None and not made:  # no transport closes it
                sock.close()
            # A connection that was open for a moment frees its slot when it is closed.
            opened = [connection for connection in made if connection in self.connections]
            for connection in opened:
                connection.abandon()
            if not opened:
                slot.closed()
            raise connect_error(error) from None
        keep_alive(transport)
        return connection


def _return_slot(slot: Slot) -> None:
    """Return a slot that was granted to a request which no longer needs it."""
    if slot.connection is None:
        slot.closed()
    else:
        slot.make_idle()

"""Open WebSockets, streams and downloads by access token, to be closed when the token ends.

Thousands may end with one token. They are closed in slices (:class:`SlicedCalls`): the first slice
at once, the others in the next steps of the event loop, between which it serves other clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self
from uuid import UUID

from zenzefi.bounded import BoundedDict
from zenzefi.sliced_calls import SlicedCalls
from zenzefi.tokens.access import TokenAccess

MAX_ENDED_SIGN_INS = 20_000
"""Remembered IDs of ended sign-ins: more than can end while a look-up is in progress."""


class ClientIdentity(NamedTuple):
    """The client that uses a token. Requests of the same identity belong to one session."""

    device_id: str | None
    address: str
    agent: str
    sign_in: UUID | None = None
    """The sign-in of a browser that sent the proxy cookie; ``None`` for other clients."""


class OpenConnection:
    """One open connection. It is a context manager that unregisters the connection at its exit."""

    __slots__ = ("_is_open", "_registry", "access", "client", "close")

    def __init__(
        self,
        registry: OpenConnections,
        access: TokenAccess,
        close: Callable[[str], None],
        client: ClientIdentity | None,
    ) -> None:
        self._registry = registry
        self._is_open = True
        self.access = access
        self.close = close
        self.client = client

    def release(self) -> None:
        """Unregister the connection, because it ended by itself. It may be called repeatedly."""
        if self._is_open:
            self._is_open = False
            self._registry.discard(self)

    def end(self, reason: str) -> None:
        """Close the connection, unless it was released or ended before."""
        if self._is_open:
            self._is_open = False
            self.close(reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class OpenConnections:
    """The registry: a set of connections for each token, and a timer for the token's expiry."""

    def __init__(self) -> None:
        self._open: dict[UUID, set[OpenConnection]] = {}
        self._timers: dict[UUID, asyncio.TimerHandle] = {}
        self._ended_sign_ins: BoundedDict[UUID, None] = BoundedDict(MAX_ENDED_SIGN_INS)
        self._closing = SlicedCalls()

    def __len__(self) -> int:
        return sum(len(connections) for connections in self._open.values())

    def __contains__(self, token_id: UUID) -> bool:
        return token_id in self._open

    def __iter__(self) -> Iterator[UUID]:
        """The IDs of the tokens that have open connections."""
        return iter(list(self._open))

    def add(
        self,
        access: TokenAccess,
        close: Callable[[str], None],
        client: ClientIdentity | None = None,
    ) -> OpenConnection:
        """Register a connection. ``close(reason)`` is called at most once, in the event loop."""
        connection = OpenConnection(self, access, close, client)
        self._open.setdefault(access.token_id, set()).add(connection)
        return connection

    def discard(self, connection: OpenConnection) -> None:
        """Unregister a connection, and the token's timer with its last one."""
        token_id = connection.access.token_id
        connections = self._open.get(token_id)
        if connections is None:
            return
        connections.discard(connection)
        if not connections:
            del self._open[token_id]
            timer = self._timers.pop(token_id, None)
            if timer is not None:
                timer.cancel()

    # --- timers

    def set_timer(self, token_id: UUID, delay: float, on_expiry: Callable[[UUID], None]) -> None:
        """Call ``on_expiry`` in ``delay`` seconds if the token has open connections until then."""
        if token_id not in self._open:
            return
        previous = self._timers.pop(token_id, None)
        if previous is not None:
            previous.cancel()
        loop = asyncio.get_running_loop()
        self._timers[token_id] = loop.call_later(max(0.0, delay), on_expiry, token_id)

    def has_timer(self, token_id: UUID) -> bool:
        """Whether a timer for the expiry of this token is set."""
        return token_id in self._timers

    # --- clients

    def devices(self) -> dict[UUID, set[str]]:
        """The IDs of the devices that have open connections, by token."""
        found: dict[UUID, set[str]] = {}
        for connection in self._all():
            client = connection.client
            if client is not None and client.device_id is not None:
                found.setdefault(connection.access.token_id, set()).add(client.device_id)
        return found

    def sign_ins(self) -> set[UUID]:
        """The sign-ins that have open connections."""
        return {
            connection.client.sign_in
            for connection in self._all()
            if connection.client is not None and connection.client.sign_in is not None
        }

    def has_ended(self, sign_in: UUID) -> bool:
        """Whether this sign-in is known to have ended."""
        return sign_in in self._ended_sign_ins

    def _all(self) -> Iterator[OpenConnection]:
        for connections in self._open.values():
            yield from connections

    # --- closing

    @property
    def is_closing(self) -> bool:
        """Whether connections wait to be closed in a later step of the event loop."""
        return bool(self._closing)

    def _close(self, connections: Iterable[OpenConnection], reason: str) -> int:
        chosen = list(connections)
        for connection in chosen:
            self.discard(connection)
        self._closing.add([partial(connection.end, reason) for connection in chosen])
        return len(chosen)

    def end_token(self, token_id: UUID, reason: str) -> int:
        """Close the connections of a token and return their number."""
        return self._close(self._open.get(token_id, ()), reason)

    def end_user(self, user_id: UUID, reason: str) -> int:
        """Close the connections of all tokens of a user and return their number."""
        return self._close([c for c in self._all() if c.access.user_id == user_id], reason)

    def end_sign_in(self, sign_in: UUID, reason: str) -> int:
        """Close the connections of a sign-in, remember that it ended, and return their number."""
        self._ended_sign_ins[sign_in] = None
        chosen = [c for c in self._all() if c.client is not None and c.client.sign_in == sign_in]
        return self._close(chosen, reason)

    def end_clients(
        self, token_id: UUID, is_meant: Callable[[ClientIdentity], bool], reason: str
    ) -> int:
        """Close the connections that some clients of a token have, and return their number."""
        connections = self._open.get(token_id, ())
        chosen = [c for c in connections if c.client is not None and is_meant(c.client)]
        return self._close(chosen, reason)

    def clear(self) -> None:
        """Unregister all connections without closing them. The draining server closes them."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._open.clear()
        self._closing.clear()

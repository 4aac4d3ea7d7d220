"""Slots: the places of connections under the one limit, and the requests that wait for one. Pure.

:class:`~zenzefi.proxy.upstream.budget.ConnectionBudget` makes slots and changes their state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

if TYPE_CHECKING:
    from zenzefi.proxy.upstream.budget import ConnectionBudget


class PooledConnection(Protocol):
    """The connection of a slot."""

    def close_idle(self) -> None:
        """Close it to make room. The connection calls :meth:`Slot.closed` when it is closed."""


class IdlePool:
    """The idle connections of one kind, the most recently used one last."""

    __slots__ = ("idle",)

    def __init__(self) -> None:
        self.idle: dict[Slot, None] = {}


class Share:
    """The connections and waiting requests of one token."""

    __slots__ = ("long_lived", "short", "waiting")

    def __init__(self) -> None:
        self.short = 0
        self.long_lived = 0
        self.waiting: dict[Waiter, None] = {}


_NOTHING = Share()
"""The share of a slot that is charged to no token."""
# The states of a slot. Plain integers: comparing members of an enum would double the cost per
# request.
IN_USE, IDLE, CLOSING, CLOSED = range(4)


class Slot:
    """The place of one connection under the limit, from before it is opened until it is closed."""

    __slots__ = (
        "_budget",
        "_pool",
        "_share",
        "_state",
        "connection",
        "is_long_lived",
        "started",
        "token",
    )

    def __init__(self, budget: ConnectionBudget, pool: IdlePool) -> None:
        self._budget = budget
        self._pool = pool
        self._share = _NOTHING
        self._state = CLOSED
        self.connection: PooledConnection | None = None
        """Set by the pool when the connection is open; ``None``: it must be opened first."""
        self.token: UUID | None = None
        self.is_long_lived = False
        self.started = 0.0

    @property
    def is_in_use(self) -> bool:
        """Whether the slot is charged to a token."""
        return self._state == IN_USE

    def make_long_lived(self) -> None:
        """Charge it to the token's long-lived account.

        Raises :class:`~zenzefi.proxy.upstream.limits.Refused` if that account is full.
        """
        self._budget.make_long_lived(self)

    def make_idle(self) -> None:
        """End the request's use; the connection may serve another request."""
        self._budget.make_idle(self)

    def closing(self) -> None:
        """The connection will be closed; it is no longer charged to the token."""
        self._budget.closing(self)

    def closed(self) -> None:
        """The connection is closed, or could not be opened. Idempotent."""
        self._budget.closed(self)


class Waiter:
    """A request that waits for a slot."""

    __slots__ = ("grant", "is_fresh", "is_long_lived", "pool", "slot", "token")

    def __init__(
        self,
        token: UUID,
        pool: IdlePool,
        grant: Callable[[Slot], None],
        *,
        is_fresh: bool,
        is_long_lived: bool,
    ) -> None:
        self.token = token
        self.pool = pool
        self.grant = grant
        self.is_fresh = is_fresh
        self.is_long_lived = is_long_lived
        self.slot: Slot | None = None
        """The slot that was granted."""

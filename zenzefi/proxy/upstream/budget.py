"""One bound on the connections to the upstream, shared fairly between the access tokens.

Pure: no I/O and no event loop; the clock is passed in.

At most ``total`` connections exist at any moment, whatever they are used for: requests on either
path, event streams, WebSockets, idle pooled connections, connections that are being opened or
closed. Each is one :class:`Slot`. A slot in use is charged to one token, in one of two accounts:

- *short*: an ordinary request. A token may hold ``per_token`` of them.
- *long-lived*: a WebSocket, an event stream, a connection kept for one client, or a request that
  has lasted longer than some seconds. A token may hold ``long_lived_per_token`` of them, and gets
  another one only while it holds fewer than are free. All tokens together may hold ``long_lived``,
  which is less than ``total``: short requests always find slots.

A short request that finds no slot waits. Each released slot goes to the next *token* in turn, not
to the oldest request, so a token with a thousand waiting requests delays another token's single
request by one turn. The number of waiting requests is bounded, per token and in all. A long-lived
one whose account is full is refused at once: those that are open are never closed for it.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


class Reason(enum.StrEnum):
    """Why no connection was given. The values are a metric's label."""

    FULL = "full"
    """Waited too long; all connections were in use."""
    TOKEN = "token"  # noqa: S105 - a label
    """Waited too long; the token's own connections were in use."""
    LONG_LIVED = "long_lived"
    """All long-lived connections are taken."""
    LONG_LIVED_TOKEN = "long_lived_token"  # noqa: S105 - a label
    """The token has its share of long-lived connections."""
    QUEUE = "queue"
    """Too many requests wait already."""
    QUEUE_TOKEN = "queue_token"  # noqa: S105 - a label
    """Too many requests of this token wait already."""


TOKEN_REASONS = frozenset((Reason.TOKEN, Reason.LONG_LIVED_TOKEN, Reason.QUEUE_TOKEN))
"""Those that only this token meets."""


class Refused(Exception):
    """No connection for this request."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason.value)


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers; see the module's text. All count connections, or waiting requests."""

    total: int
    long_lived: int
    per_token: int
    long_lived_per_token: int
    waiting: int
    waiting_per_token: int

    @classmethod
    def of(cls, total: int, *, per_token: int, long_lived_share: float, waiting: int) -> Limits:
        """From the settings.

        One token never gets more than half of an account, however high ``per_token`` is. One
        connection always remains for short requests, so a total of 1 has none that may live long.
        """
        long_lived = min(total - 1, max(1, int(total * long_lived_share)))
        return cls(
            total=total,
            long_lived=long_lived,
            per_token=min(per_token, max(1, total // 2)),
            long_lived_per_token=min(per_token, max(1, long_lived // 2)),
            waiting=waiting,
            waiting_per_token=max(1, waiting // 2),
        )


class PooledConnection(Protocol):
    """A connection that a slot stands for."""

    def close_idle(self) -> None:
        """Close it, to make room. Its slot's :meth:`Slot.closed` follows when it is closed."""


class IdlePool:
    """The idle connections of one kind, the most recently used ones last."""

    __slots__ = ("idle",)

    def __init__(self) -> None:
        self.idle: dict[Slot, None] = {}


class _Share:
    """What one token holds."""

    __slots__ = ("long_lived", "short", "waiting")

    def __init__(self) -> None:
        self.short = 0
        self.long_lived = 0
        self.waiting: dict[Waiter, None] = {}


_NOTHING = _Share()
"""Of a slot that is charged to no token."""
# What a slot is. Plain numbers: members of an enum would cost half of what a request pays here.
_IN_USE, _IDLE, _CLOSING, _CLOSED = range(4)


class Slot:
    """The place of one connection under the bound, from before it is opened until it is closed."""

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
        self._state = _CLOSED
        self.connection: PooledConnection | None = None
        """Set by the pool once it is open; ``None`` says that one is to be opened."""
        self.token: UUID | None = None
        self.is_long_lived = False
        self.started = 0.0

    @property
    def is_in_use(self) -> bool:
        """Whether it is charged to a token."""
        return self._state == _IN_USE

    def make_long_lived(self) -> None:
        """Move it to the token's long-lived account. Raises :class:`Refused` if that is full."""
        self._budget.make_long_lived(self)

    def make_idle(self) -> None:
        """The request is over and the connection may serve another one."""
        self._budget.make_idle(self)

    def closing(self) -> None:
        """The connection is going to be closed: the token no longer holds it."""
        self._budget.closing(self)

    def closed(self) -> None:
        """The connection is closed, or could not be opened. Harmless when repeated."""
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
        """What it got."""


class ConnectionBudget:
    """Who may have a connection to the upstream, and who waits for one."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        """``clock`` returns the time in seconds."""
        self.limits = limits
        self._clock = clock
        self.open = 0
        """Connections that exist: in use, idle, being opened or closed."""
        self.short = 0
        self.long_lived = 0
        self.waiting = 0
        self._closing = 0
        self._making_room: Slot | None = None
        self._pools: list[IdlePool] = []
        self._shares: dict[UUID, _Share] = {}
        self._slots: dict[Slot, None] = {}  # in the order in which they were opened
        # Tokens whose first waiting request lacks nothing but a slot, in the order of their turns.
        self._turns: OrderedDict[UUID, None] = OrderedDict()

    @property
    def idle(self) -> int:
        """Connections that serve no request now."""
        return sum(len(pool.idle) for pool in self._pools)

    def pool(self) -> IdlePool:
        """A new pool of idle connections under this bound."""
        pool = IdlePool()
        self._pools.append(pool)
        return pool

    def held(self, token: UUID) -> tuple[int, int]:
        """Short and long-lived connections that are charged to this token."""
        share = self._shares.get(token)
        return (0, 0) if share is None else (share.short, share.long_lived)

    # --- getting one

    def take_idle(self, token: UUID, pool: IdlePool) -> Slot | None:
        """An idle connection of ``pool`` for a short request, if there is one and no request waits.

        The cheapest way in: it refuses nothing and queues nothing.
        """
        if not pool.idle or self._turns:
            return None
        share = self._shares.get(token)
        if share is None:
            share = self._shares[token] = _Share()
        elif share.short >= self.limits.per_token:
            return None
        slot, _ = pool.idle.popitem()
        slot._state = _IN_USE
        slot._share = share
        slot.token = token
        slot.started = self._clock()
        share.short += 1
        self.short += 1
        return slot

    def take_new(self, token: UUID, pool: IdlePool) -> Slot | None:
        """A slot for a short request's new connection, if one is free and no request waits."""
        if self.open >= self.limits.total or self._turns or not self._fits(token):
            return None
        return self._charge(self._new(pool), token, is_long_lived=False)

    def take(
        self, token: UUID, pool: IdlePool, *, is_fresh: bool, is_long_lived: bool
    ) -> Slot | None:
        """A slot at once, or ``None`` if this request has to wait (:meth:`wait`).

        ``is_fresh``: a connection to be opened, never an idle one. Raises :class:`Refused` for a
        long-lived one whose account is full.
        """
        if is_long_lived:
            self._check_long_lived(token)
        elif not self._fits(token):
            return None
        if self._turns:
            return None
        slot = self._place(pool, is_fresh=is_fresh)
        return slot and self._charge(slot, token, is_long_lived=is_long_lived)

    def wait(
        self,
        token: UUID,
        pool: IdlePool,
        grant: Callable[[Slot], None],
        *,
        is_fresh: bool,
        is_long_lived: bool,
    ) -> Waiter:
        """Queue a request; ``grant`` gets its slot, perhaps before this returns.

        A long-lived one is charged to its account from now on. Raises :class:`Refused` if too many
        wait already, or for a long-lived one whose account is full.
        """
        share = self._shares.get(token)
        if share is not None and len(share.waiting) >= self.limits.waiting_per_token:
            raise Refused(Reason.QUEUE_TOKEN)
        if self.waiting >= self.limits.waiting:
            raise Refused(Reason.QUEUE)
        if is_long_lived:
            self._check_long_lived(token)
        if share is None:
            share = self._shares[token] = _Share()
        waiter = Waiter(token, pool, grant, is_fresh=is_fresh, is_long_lived=is_long_lived)
        share.waiting[waiter] = None
        self.waiting += 1
        if is_long_lived:
            share.long_lived += 1
            self.long_lived += 1
        self._update_turn(token, share)
        self._serve()
        return waiter

    def withdraw(self, waiter: Waiter) -> Reason:
        """Leave the queue. Returns what was waited for; harmless for one that has its slot."""
        share = self._shares.get(waiter.token)
        if share is None or waiter not in share.waiting:
            return Reason.FULL
        is_own_limit = not waiter.is_long_lived and share.short >= self.limits.per_token
        del share.waiting[waiter]
        self.waiting -= 1
        if waiter.is_long_lived:
            share.long_lived -= 1
            self.long_lived -= 1
        self._update_turn(waiter.token, share)
        self._serve()
        in_use = self.short + self.long_lived + self._closing
        return Reason.TOKEN if is_own_limit and in_use < self.limits.total else Reason.FULL

    def sweep(self, age: float) -> None:
        """To be called once a second: forget tokens that hold nothing, and promote.

        Short requests that have lasted ``age`` seconds are counted as long-lived, as far as the
        accounts permit. The others remain short ones: none is closed.
        """
        for token, share in list(self._shares.items()):
            if not share.short and not share.long_lived and not share.waiting:
                del self._shares[token]
        before = self._clock() - age
        old = [
            slot
            for slot in self._slots
            if slot.is_in_use and not slot.is_long_lived and slot.started <= before
        ]
        for slot in sorted(old, key=lambda slot: slot.started):
            try:
                self.make_long_lived(slot)
            except Refused:
                continue

    # --- what becomes of a slot

    def make_long_lived(self, slot: Slot) -> None:
        """See :meth:`Slot.make_long_lived`."""
        if slot.is_long_lived or slot._state != _IN_USE or slot.token is None:
            return
        self._check_long_lived(slot.token)
        share = self._shares[slot.token]
        slot.is_long_lived = True
        share.short -= 1
        share.long_lived += 1
        self.short -= 1
        self.long_lived += 1
        self._update_turn(slot.token, share)
        self._serve()

    def make_idle(self, slot: Slot) -> None:
        """See :meth:`Slot.make_idle`."""
        if slot._state != _IN_USE:
            return
        self._discharge(slot)
        slot._state = _IDLE
        slot._pool.idle[slot] = None
        if self._turns:
            self._serve()

    def closing(self, slot: Slot) -> None:
        """See :meth:`Slot.closing`."""
        if slot._state == _IN_USE:
            self._discharge(slot)
        elif slot._state == _IDLE:
            del slot._pool.idle[slot]
        else:
            return
        slot._state = _CLOSING
        self._closing += 1
        self._serve()

    def closed(self, slot: Slot) -> None:
        """See :meth:`Slot.closed`."""
        if slot._state == _CLOSED:
            return
        if slot._state == _IN_USE:
            self._discharge(slot)
        elif slot._state == _IDLE:
            del slot._pool.idle[slot]
        else:
            self._closing -= 1
        slot._state = _CLOSED
        if slot is self._making_room:
            self._making_room = None
        self.open -= 1
        self._slots.pop(slot, None)
        self._serve()

    # --- inside

    def _fits(self, token: UUID) -> bool:
        share = self._shares.get(token)
        return share is None or share.short < self.limits.per_token

    def _check_long_lived(self, token: UUID) -> None:
        share = self._shares.get(token)
        held = 0 if share is None else share.long_lived
        free = self.limits.long_lived - self.long_lived
        # The more is taken, the less one token may have: a few tokens can't shut the others out.
        if held >= self.limits.long_lived_per_token or 0 < free <= held:
            raise Refused(Reason.LONG_LIVED_TOKEN)
        if free <= 0:
            raise Refused(Reason.LONG_LIVED)

    def _new(self, pool: IdlePool) -> Slot:
        self.open += 1
        slot = Slot(self, pool)
        self._slots[slot] = None
        return slot

    def _place(self, pool: IdlePool, *, is_fresh: bool) -> Slot | None:
        if pool.idle and not is_fresh:
            return pool.idle.popitem()[0]
        return self._new(pool) if self.open < self.limits.total else None

    def _charge(self, slot: Slot, token: UUID, *, is_long_lived: bool) -> Slot:
        share = self._shares.get(token)
        if share is None:
            share = self._shares[token] = _Share()
        slot._state = _IN_USE
        slot._share = share
        slot.token = token
        slot.is_long_lived = is_long_lived
        slot.started = self._clock()
        if is_long_lived:
            share.long_lived += 1
            self.long_lived += 1
        else:
            share.short += 1
            self.short += 1
        return slot

    def _discharge(self, slot: Slot) -> None:
        token = slot.token
        if token is None:
            return
        share = slot._share
        if slot.is_long_lived:
            slot.is_long_lived = False
            share.long_lived -= 1
            self.long_lived -= 1
        else:
            share.short -= 1
            self.short -= 1
        slot.token = None
        if share.waiting:
            self._update_turn(token, share)

    def _update_turn(self, token: UUID, share: _Share) -> None:
        """Whether the token takes part in the turns, after something of it has changed."""
        first = next(iter(share.waiting), None)
        if first is not None and (first.is_long_lived or share.short < self.limits.per_token):
            self._turns.setdefault(token)
            return
        self._turns.pop(token, None)

    def _serve(self) -> None:
        """Give what is free to those whose turn it is; make room if nothing is."""
        while self._turns:
            token = next(iter(self._turns))
            share = self._shares[token]
            waiter = next(iter(share.waiting))
            slot = self._place(waiter.pool, is_fresh=waiter.is_fresh)
            if slot is None:
                self._make_room()
                return
            del share.waiting[waiter]
            self.waiting -= 1
            if waiter.is_long_lived:  # charged since it waits; _charge counts it again
                share.long_lived -= 1
                self.long_lived -= 1
            self._charge(slot, token, is_long_lived=waiter.is_long_lived)
            del self._turns[token]  # to the end, if more of it wait
            self._update_turn(token, share)
            waiter.slot = slot
            waiter.grant(slot)

    def _make_room(self) -> None:
        """Close an idle connection, one at a time: the next request looks again when it is."""
        if self._making_room is not None:
            return
        pool = max(self._pools, key=lambda pool: len(pool.idle), default=None)
        if pool is None or not pool.idle:
            return
        slot = next(iter(pool.idle))
        connection = slot.connection
        self._making_room = slot
        self.closing(slot)
        if connection is not None:
            connection.close_idle()

"""One limit for all connections to the upstream, shared fairly between the access tokens.

Pure: no I/O and no event loop; the clock is passed in.

Theory of operation
-------------------

At most ``total`` connections exist at any time, for all purposes together: requests on either path,
event streams, WebSockets, idle pooled connections, and connections that are being opened or closed.
Each connection has one :class:`~zenzefi.proxy.upstream.slots.Slot`, taken before it is opened.

States of a slot::

    (none) --take, wait--> IN_USE --make_idle--> IDLE --take, wait--> IN_USE
                             |                     |
                             +------closing--------+--> CLOSING --closed--> CLOSED
                             +------closed---------+------------------> CLOSED

A slot in use is charged to one token, in one of two accounts:

- *short*: an ordinary request. A token may use ``per_token`` of them.
- *long-lived*: a WebSocket, an event stream, a connection that belongs to one client, or a request
  that has lasted longer than a few seconds (:meth:`ConnectionBudget.sweep` moves it). A token may
  use ``long_lived_per_token`` of them, and gets another one only while it uses fewer than are free.
  All tokens together may use ``long_lived``, which is less than ``total``.

A short request that finds no slot waits. Tokens with waiting requests take turns: a released slot
goes to the next token, not to the oldest request. A token takes part while its first waiting
request lacks nothing but a slot. If no slot is free, one idle connection is closed to make room,
one at a time. A long-lived request whose account is full is refused at once.

Invariants:

- ``open`` is the number of slots that are not CLOSED, and never exceeds ``total``.
- ``open == short + long_lived + idle + closing``, except that a waiting long-lived request is
  already charged to its account.
- ``long_lived < total``: long-lived connections never use the last slot of short requests.
- A token with a thousand waiting requests delays another token's single request by one turn.
- The number of waiting requests is limited, per token and in total.
- No connection is closed in favour of another request while it is in use.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from uuid import UUID

from zenzefi.proxy.upstream.limits import Limits, Reason, Refused
from zenzefi.proxy.upstream.slots import (
    CLOSED,
    CLOSING,
    IDLE,
    IN_USE,
    IdlePool,
    Share,
    Slot,
    Waiter,
)


class ConnectionBudget:
    """Grants connections to the upstream, and queues the requests that wait for one."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        """``clock`` returns the time in seconds."""
        self.limits = limits
        self._clock = clock
        self.open = 0
        """The number of connections: in use, idle, being opened or closed."""
        self.short = 0
        self.long_lived = 0
        self.waiting = 0
        self._closing = 0
        self._making_room: Slot | None = None
        self._pools: list[IdlePool] = []
        self._shares: dict[UUID, Share] = {}
        self._slots: dict[Slot, None] = {}  # in the order in which they were opened
        # Tokens whose first waiting request only lacks a slot, in the order of their turns.
        self._turns: OrderedDict[UUID, None] = OrderedDict()

    @property
    def idle(self) -> int:
        """The number of connections without a request."""
        return sum(len(pool.idle) for pool in self._pools)

    def pool(self) -> IdlePool:
        """A new pool of idle connections under this limit."""
        pool = IdlePool()
        self._pools.append(pool)
        return pool

    def held(self, token: UUID) -> tuple[int, int]:
        """The numbers of short and long-lived connections that are charged to this token."""
        share = self._shares.get(token)
        return (0, 0) if share is None else (share.short, share.long_lived)

    # --- getting a slot

    def take_idle(self, token: UUID, pool: IdlePool) -> Slot | None:
        """An idle connection of ``pool`` for a short request, if there is one and no request waits.

        The cheapest method: it neither refuses nor queues.
        """
        if not pool.idle or self._turns:
            return None
        share = self._shares.get(token)
        if share is None:
            share = self._shares[token] = Share()
        elif share.short >= self.limits.per_token:
            return None
        slot, _ = pool.idle.popitem()
        slot._state = IN_USE
        slot._share = share
        slot.token = token
        slot.started = self._clock()
        share.short += 1
        self.short += 1
        return slot

    def take(
        self, token: UUID, pool: IdlePool, *, is_fresh: bool, is_long_lived: bool
    ) -> Slot | None:
        """A slot at once, or ``None`` if the request has to wait (:meth:`wait`).

        ``is_fresh``: for a connection to be opened, never an idle one. Raises :class:`Refused` for
        a long-lived request whose account is full.
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
        """Queue a request; ``grant`` receives its slot, possibly before this method returns.

        A long-lived request is charged to its account from now on. Raises :class:`Refused` if the
        queue is full, or for a long-lived request whose account is full.
        """
        share = self._shares.get(token)
        if share is not None and len(share.waiting) >= self.limits.waiting_per_token:
            raise Refused(Reason.QUEUE_TOKEN)
        if self.waiting >= self.limits.waiting:
            raise Refused(Reason.QUEUE)
        if is_long_lived:
            self._check_long_lived(token)
        if share is None:
            share = self._shares[token] = Share()
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
        """Leave the queue. Returns the reason of the wait; no effect after the slot was granted."""
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
        """Drop the shares of unused tokens, and recharge old requests. Call it once a second.

        Short requests that have lasted ``age`` seconds become long-lived, as far as the accounts
        permit. The others stay short; none is closed.
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

    # --- state changes of a slot

    def make_long_lived(self, slot: Slot) -> None:
        """See :meth:`Slot.make_long_lived`."""
        if slot.is_long_lived or slot._state != IN_USE or slot.token is None:
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
        if slot._state != IN_USE:
            return
        self._discharge(slot)
        slot._state = IDLE
        slot._pool.idle[slot] = None
        if self._turns:
            self._serve()

    def closing(self, slot: Slot) -> None:
        """See :meth:`Slot.closing`."""
        if slot._state == IN_USE:
            self._discharge(slot)
        elif slot._state == IDLE:
            del slot._pool.idle[slot]
        else:
            return
        slot._state = CLOSING
        self._closing += 1
        self._serve()

    def closed(self, slot: Slot) -> None:
        """See :meth:`Slot.closed`."""
        if slot._state == CLOSED:
            return
        if slot._state == IN_USE:
            self._discharge(slot)
        elif slot._state == IDLE:
            del slot._pool.idle[slot]
        else:
            self._closing -= 1
        slot._state = CLOSED
        if slot is self._making_room:
            self._making_room = None
        self.open -= 1
        self._slots.pop(slot, None)
        self._serve()

    # --- internals

    def _fits(self, token: UUID) -> bool:
        share = self._shares.get(token)
        return share is None or share.short < self.limits.per_token

    def _check_long_lived(self, token: UUID) -> None:
        share = self._shares.get(token)
        held = 0 if share is None else share.long_lived
        free = self.limits.long_lived - self.long_lived
        # The fewer are free, the fewer one token may use: a few tokens can't exclude the others.
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
            share = self._shares[token] = Share()
        slot._state = IN_USE
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

    def _update_turn(self, token: UUID, share: Share) -> None:
        """Add the token to the turns or remove it, after its share has changed."""
        first = next(iter(share.waiting), None)
        if first is not None and (first.is_long_lived or share.short < self.limits.per_token):
            self._turns.setdefault(token)
            return
        self._turns.pop(token, None)

    def _serve(self) -> None:
        """Grant free slots to the tokens in turn; make room if there is none."""
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
            if waiter.is_long_lived:  # already charged while waiting; _charge counts it again
                share.long_lived -= 1
                self.long_lived -= 1
            self._charge(slot, token, is_long_lived=waiter.is_long_lived)
            del self._turns[token]  # _update_turn adds it at the end if more of its requests wait
            self._update_turn(token, share)
            waiter.slot = slot
            waiter.grant(slot)

    def _make_room(self) -> None:
        """Close one idle connection; requests are served again when it is closed."""
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

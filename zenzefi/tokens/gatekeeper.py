"""The gatekeeper: who may pass now, found in three tiers, and ended everywhere within a second.

In-process (a dictionary, seconds) -> Redis -> database. The hot path is
:meth:`Gatekeeper.cached`: one dictionary look-up and one comparison.

Decisions follow one clock, the database's: each answer of the database carries its time, and this
node's own clock is corrected by the difference (reported when it is large).
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, NoReturn, TypeVar
from uuid import UUID

from aiohttp import web

from zenzefi.db.engine import Database
from zenzefi.errors import (
    DatabaseUnavailable,
    RateLimited,
    TokenExpired,
    TokenInvalid,
    TokenRejected,
    TokenRevoked,
    Unavailable,
)
from zenzefi.keys import Keyring
from zenzefi.ops.metrics import TOKEN_LOOKUPS
from zenzefi.tokens import store, value
from zenzefi.tokens.access import Access
from zenzefi.tokens.holds import Hold, Holds
from zenzefi.tokens.shared import Ended, Entry, Shared

log = logging.getLogger(__name__)

LIFE = 5.0
"""Seconds that an answer stays in this process while the subscription stands."""
LIFE_ALONE = 1.0
"""The same without a subscription: revocations by other nodes are then seen this late."""
_RENEW = 0.25  # seconds before its end that an answer in use is asked for again
_REFUSED_LIFE = 3.0  # seconds that an unknown, expired or revoked token is remembered
_MAX_CACHED = 50_000
_MAX_REFUSED = 20_000
_LOOKUPS = 16  # at once, so that a flood leaves connections for everything else
_WAITING = 2_000
_MAX_UNKNOWN = 120  # well-formed but unknown tokens per address and minute before 429
_MAX_ADDRESSES = 10_000
_SKEW_REPORTED = 30.0  # seconds
_CHECK_HELD = 30.0  # seconds between looks at what is open, while the subscription stands
_BATCH = 500
REVOKED = "The access token was revoked."
EXPIRED = "The access token has expired."
DEACTIVATED = "The account was deactivated."
SESSION_ENDED = "The session was ended."
"""What is told to what is closed: the reason of a WebSocket's close frame."""
_K = TypeVar("_K")


@dataclass(slots=True)
class _Cached:
    access: Access
    until: float  # time.monotonic()


class Gatekeeper:
    """Validates access tokens, starts their clocks, and ends what is open under them."""

    def __init__(self, database: Database, keyring: Keyring, shared: Shared | None = None) -> None:
        self._database = database
        self._keyring = keyring
        self._shared = shared
        self.holds = Holds()
        self.is_live = False
        self.skew = 0.0  # seconds by which the database's clock is ahead of this node's
        self._cache: OrderedDict[str, _Cached] = OrderedDict()
        self._names: dict[UUID, str] = {}  # token id -> value, of what is cached
        self._refused: OrderedDict[str, tuple[float, type[TokenRejected]]] = OrderedDict()
        self._flights: dict[str, asyncio.Task[Access]] = {}
        self._activations: dict[UUID, asyncio.Task[Access]] = {}
        self._lookups = asyncio.Semaphore(_LOOKUPS)
        self._unknown: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._unsent: list[tuple[Ended, list[str]]] = []
        self._generation = 0  # raised by every end: an answer read before it is not kept
        self._listeners: list[Callable[[Ended], None]] = []

    # --- the hot path

    def cached(self, token: str) -> Access | None:
        """What this process knows of the token now; ``None``: ask :meth:`validate`."""
        known = self._cache.get(token)
        if known is None:
            return None
        left = known.until - monotonic()
        if left <= 0:
            return None
        if left < _RENEW and token not in self._flights:
            self._renew(token)
        return known.access

    def _renew(self, token: str) -> None:
        """Ask about a token in use shortly before its answer ends, so that nobody has to wait."""
        if len(self._flights) < _WAITING:
            self._fly(token)

    def _fly(self, token: str) -> asyncio.Task[Access]:
        """Begin a look-up that everybody shares who asks for this token meanwhile."""
        flight = asyncio.create_task(self._look_up(token), name="token look-up")
        self._flights[token] = flight
        flight.add_done_callback(lambda done: self._landed(self._flights, token, done))
        return flight

    # --- validation

    async def validate(self, token: str, address: str | None = None) -> Access:
        """What a token grants.

        Raises ``TokenInvalid``, ``TokenExpired``, ``TokenRevoked`` (401), ``DatabaseUnavailable``
        or ``Unavailable`` (503), and ``RateLimited`` (429) for an ``address`` that tries many
        unknown tokens.
        """
        known = self.cached(token)
        if known is not None:
            return known
        if not value.is_well_formed(token):
            raise TokenInvalid
        refused = self._refused.get(token)
        if refused is not None:
            if refused[0] > monotonic():
                raise refused[1]
            del self._refused[token]
        self._check_flood(address)
        flight = self._flights.get(token)
        if flight is None:
            if len(self._flights) >= _WAITING:
                raise Unavailable
            flight = self._fly(token)
        try:
            # One flight for all who ask; the first to give up does not end it for the others.
            return await asyncio.shield(flight)
        except TokenInvalid:
            self._count_unknown(address)
            raise

    async def _look_up(self, token: str) -> Access:
        generation = self._generation
        entry = None if self._shared is None else await self._shared.get(token, self.now())
        if entry is not None:
            if entry.access is None:
                self._refuse(token, TokenRevoked)
            elif entry.is_fresh:
                TOKEN_LOOKUPS.labels("redis").inc()
                return self._admit(token, entry.access, generation)
        try:
            async with self._lookups, self._database.read() as connection:
                state = await store.find(connection, value.indexes(self._keyring, token))
        except DatabaseUnavailable:
            if entry is not None and entry.access is not None:
                return self._admit(token, entry.access, generation)
            raise
        TOKEN_LOOKUPS.labels("database" if state is not None else "unknown").inc()
        if state is None:
            self._refuse(token, TokenInvalid)
        self._note_clock(state.now)
        if state.is_revoked:
            self._refuse(token, TokenRevoked)
        access = self._admit(token, state.access, generation)
        await self._share(token, access, entry)
        return access

    async def _share(self, token: str, access: Access, entry: Entry | None) -> None:
        if self._shared is not None and access.is_activated:
            await self._shared.put(token, access, self.now(), entry)

    def _admit(self, token: str, access: Access, generation: int) -> Access:
        """Keep a good answer for a moment. Raises ``TokenExpired`` when its time has passed."""
        left = access.seconds_left(self.now())
        if left <= 0:
            self._refuse(token, TokenExpired)
        if generation != self._generation:
            return access  # something ended meanwhile, perhaps this: good for this once only
        life = LIFE if self.is_live else LIFE_ALONE
        self._cache[token] = _Cached(access, monotonic() + min(life, left))
        self._cache.move_to_end(token)
        self._names[access.token_id] = token
        while len(self._cache) > _MAX_CACHED:
            _, oldest = self._cache.popitem(last=False)
            self._names.pop(oldest.access.token_id, None)
        return access

    def _refuse(self, token: str, error: type[TokenRejected]) -> NoReturn:
        until = monotonic() + _REFUSED_LIFE
        self._refused[token] = (until, error)
        while len(self._refused) > _MAX_REFUSED:
            self._refused.popitem(last=False)
        raise error

    @staticmethod
    def _landed(
        flights: dict[_K, asyncio.Task[Access]], key: _K, done: asyncio.Task[Access]
    ) -> None:
        flights.pop(key, None)
        if not done.cancelled():
            done.exception()  # seen here: everybody who asked may have given up meanwhile

    # --- floods

    def _check_flood(self, address: str | None) -> None:
        if address is None:
            return
        since, count = self._unknown.get(address, (0.0, 0))
        left = since + 60 - monotonic()
        if count >= _MAX_UNKNOWN and left > 0:
            raise RateLimited(int(left) + 1)

    def _count_unknown(self, address: str | None) -> None:
        if address is None:
            return
        now = monotonic()
        since, count = self._unknown.pop(address, (now, 0))
        self._unknown[address] = (now, 1) if now - since > 60 else (since, count + 1)
        while len(self._unknown) > _MAX_ADDRESSES:
            self._unknown.popitem(last=False)

    # --- the clock

    def now(self) -> datetime:
        """The time by the database's clock, as well as this node knows it."""
        return datetime.now(UTC) + timedelta(seconds=self.skew)

    def _note_clock(self, theirs: datetime) -> None:
        skew = (theirs - datetime.now(UTC)).total_seconds()
        if abs(skew) > _SKEW_REPORTED and abs(self.skew) <= _SKEW_REPORTED:
            log.warning("this node's clock is %.0f s off the database's: set it right", -skew)
        # Below a second it is the time the answer took, not the clocks.
        self.skew = skew if abs(skew) >= 1 else 0.0

    # --- activation

    async def activate(self, access: Access) -> Access:
        """Start the token's clock, if it does not run yet; the access with its times.

        Of many first uses at once, on any number of nodes, exactly one starts it. Raises as
        :meth:`validate`.
        """
        if access.is_activated:
            return access
        token = self._names.get(access.token_id)
        known = None if token is None else self.cached(token)
        if known is not None and known.is_activated:
            return known
        running = self._activations.get(access.token_id)
        if running is None:
            token_id = access.token_id
            running = asyncio.create_task(self._activate(token_id), name="token activation")
            self._activations[token_id] = running
            running.add_done_callback(lambda done: self._landed(self._activations, token_id, done))
        return await asyncio.shield(running)

    async def _activate(self, token_id: UUID) -> Access:
        generation = self._generation
        async with self._lookups, self._database.begin() as connection:
            state = await store.activate(connection, token_id)
        if state is None:
            raise TokenInvalid
        self._note_clock(state.now)
        if state.is_revoked:
            raise TokenRevoked
        token = self._names.get(token_id)
        if token is not None:
            self._admit(token, state.access, generation)
            await self._share(token, state.access, None)
        if state.is_expired:
            raise TokenExpired
        self._watch(state.access)
        return state.access

    # --- what is open

    def hold(
        self,
        token_id: UUID,
        close: Callable[[str], None],
        *,
        session_id: UUID | None = None,
    ) -> Hold:
        """Register something open (a socket, a stream) that must end with the token.

        ``close(reason)`` is called at most once, from the event loop, with a sentence that
        says why. Use it as a context manager, or call
        :meth:`Hold.release`.
        """
        token = self._names.get(token_id)
        known = None if token is None else self._cache.get(token)
        user_id = None if known is None else known.access.user_id
        hold = self.holds.add(token_id, close, user_id, session_id)
        if known is not None:
            self._watch(known.access)
        return hold

    def _watch(self, access: Access) -> None:
        if access.is_activated and not self.holds.has_timer(access.token_id):
            left = access.seconds_left(self.now())
            self.holds.set_timer(access.token_id, left, self._expire)

    def _expire(self, token_id: UUID) -> None:
        self._forget(token_id, TokenExpired)
        self.holds.end_token(token_id, EXPIRED)

    def _forget(self, token_id: UUID, error: type[TokenRejected]) -> None:
        token = self._names.pop(token_id, None)
        if token is not None:
            self._cache.pop(token, None)
            if token not in self._refused:
                until = monotonic() + _REFUSED_LIFE
                self._refused[token] = (until, error)

    # --- ends

    def on_end(self, listener: Callable[[Ended], None]) -> None:
        """Have other parts of this node hear of ends too (device claims, sessions)."""
        self._listeners.append(listener)

    async def announce(self, ended: Ended, tokens: list[str]) -> None:
        """Make an end known: here at once, to all nodes within a second.

        Call it after the transaction has been committed. ``tokens`` are the values concerned;
        what Redis can't take now is sent when it is back.
        """
        self._heard(ended)
        if self._shared is not None and not await self._send(self._shared, ended, tokens):
            self._unsent.append((ended, tokens))
            del self._unsent[:-10_000]

    async def _send(self, shared: Shared, ended: Ended, tokens: list[str]) -> bool:
        if ended.kind == "restored":
            buried = await shared.unbury(tokens)
        elif ended.kind in ("token", "user"):
            buried = await shared.bury(tokens)
        else:
            buried = True
        return await shared.publish(ended) and buried

    def _heard(self, ended: Ended) -> None:
        self._generation += 1
        if ended.kind == "token":
            self._forget(ended.id, TokenRevoked)
            self.holds.end_token(ended.id, ended.reason)
        elif ended.kind == "user":
            for known in list(self._cache.values()):
                if known.access.user_id == ended.id:
                    self._forget(known.access.token_id, TokenRevoked)
            self.holds.end_user(ended.id, ended.reason)
        elif ended.kind == "session":
            self.holds.end_session(ended.id, ended.reason)
        elif ended.kind == "holds":
            self.holds.end_token(ended.id, ended.reason)
        elif ended.kind == "restored":
            self._refused.clear()
        for listener in self._listeners:
            listener(ended)

    # --- life

    def _live(self, is_live: bool) -> None:
        if is_live != self.is_live:
            self.is_live = is_live
            # What was said while nobody listened is unknown: ask again about everything.
            self._generation += 1
            self._cache.clear()
            self._names.clear()

    async def _resend(self, shared: Shared) -> None:
        while True:
            await asyncio.sleep(LIFE_ALONE)
            waiting, self._unsent = self._unsent, []
            for ended, tokens in waiting:
                if not await self._send(shared, ended, tokens):
                    self._unsent.append((ended, tokens))

    async def _check_held(self) -> None:
        """Look up what is open, in batches: the net under a lost message."""
        elapsed = 0.0
        while True:
            await asyncio.sleep(LIFE_ALONE)
            elapsed += LIFE_ALONE
            if self.is_live and elapsed < _CHECK_HELD:
                continue
            elapsed = 0.0
            held = list(self.holds)
            for start in range(0, len(held), _BATCH):
                await self._check_batch(held[start : start + _BATCH])

    async def _check_batch(self, ids: list[UUID]) -> None:
        try:
            async with self._database.read() as connection:
                found = {s.access.token_id: s for s in await store.states(connection, ids)}
        except DatabaseUnavailable:
            return  # known tokens go on; the next look comes soon
        for token_id in ids:
            state = found.get(token_id)
            if state is None or state.is_revoked:
                self._forget(token_id, TokenRevoked)
                self.holds.end_token(token_id, REVOKED)
            else:
                self._note_clock(state.now)
                self._watch(state.access)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen for ends and look after what is open, for as long as the node runs."""
        work: list[tuple[str, Coroutine[Any, Any, None]]] = [("held tokens", self._check_held())]
        if self._shared is not None:
            work.append(("ends of tokens", self._shared.listen(self._heard, self._live)))
            work.append(("unsent ends", self._resend(self._shared)))
        tasks = [asyncio.create_task(job, name=name) for name, job in work]
        try:
            yield
        finally:
            await _stop(tasks)
            others = [*self._flights.values(), *self._activations.values()]
            await asyncio.gather(*others, return_exceptions=True)
            self.holds.close()


async def _stop(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: a client library may lose a cancellation that comes together
    with one of its own time-outs."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.2)


GATEKEEPER: web.AppKey[Gatekeeper] = web.AppKey("gatekeeper", Gatekeeper)

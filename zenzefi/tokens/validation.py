"""Validation of access tokens: a token is looked up in three tiers and invalidated on every node.

Theory of operation
===================

Tiers. A request's token is looked up in the first tier that can decide:

1. The in-process cache (:mod:`~.cache`): one dictionary look-up and one comparison, without an
   await. An entry is used for :data:`~.token_lookup.LIFE` seconds. A used entry is renewed in the
   background shortly before that, so that no request waits.
2. Redis (:mod:`~.redis_cache`): an entry that the database confirmed within the last
   :data:`~.token_lookup.TRUSTED` seconds, or a tombstone.
3. The database, which decides in every other case.

Look-ups in the tiers 2 and 3 are shared and batched (:mod:`~.single_flight`). Networks that send
many unknown tokens wait in a queue (:mod:`~.brute_force`).

States of a token, as one node sees it:

- *unknown to the node*: in no table of the cache. The next request looks it up.
- *known*: in ``cache.known``. Requests are admitted, connections may be open. A known token may be
  *activated* (its time runs, and a timer closes its connections at its expiry) or not.
- *refused*: in ``cache.refused`` for :data:`~.cache.REFUSED_LIFE` seconds: malformed tokens are not
  looked up at all, unknown, expired and revoked ones at most this often.
- *invalidated*: its ID or its user's ID is in ``cache.invalidated``. Redis is not trusted for it,
  and a look-up that started before is refused. A revocation is final; a deactivated user may be
  restored, by a message or by the database.

Transitions:

- unknown -> known or refused: the result of a look-up (:meth:`TokenValidator.validate`).
- known, not activated -> activated: the first use (:meth:`TokenValidator.activate`), one
  conditional UPDATE. Of concurrent first uses on all nodes exactly one sets the time.
- known -> refused: expiry, by the timer or by a look-up.
- any -> invalidated: an invalidation message, or a recheck of open connections.
- known -> unknown: the entry's lifetime ended, or the subscription changed (all entries are
  cleared).

How long a revoked token works at most, by the first safety net that is intact:

==========================================  ======================================================
Intact                                      Delay
==========================================  ======================================================
The node itself revoked the token           None
Message through Redis                       Milliseconds
Tombstone in Redis (message lost)           ``LIFE``: 5 s, when the cached entry ends
Database only (message and tombstone lost)  ``LIFE`` plus ``TRUSTED``: 15 s
Subscription lost                           ``LIFE_ALONE`` for each of the two tiers: 2 s
Database lost too                           Until the token expires, if the entry in Redis is old
==========================================  ======================================================

Open connections are closed by the same message. If it was lost, :mod:`~.revalidation` finds it in
the database within ``LIFE`` (``LIFE_ALONE`` without a subscription).

Invariants:

- A result is cached from the start of its look-up. It is not cached if the token was invalidated or
  the subscription changed after that.
- No token is admitted after its expiry by the database's clock (:mod:`~.clock`).
- All tables and queues are bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from time import monotonic
from uuid import UUID

from aiohttp import web

from zenzefi.db.engine import Database
from zenzefi.keys import Keyring
from zenzefi.observability.metrics import (
    CACHE_ENTRIES,
    INVALIDATION_SUBSCRIPTION,
    OPEN_TOKEN_CONNECTIONS,
)
from zenzefi.tasks import background_task, repeat_every
from zenzefi.tokens import repository, token_format, token_lookup
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.brute_force import LookupQueue, UnknownTokenLimiter
from zenzefi.tokens.cache import TokenCache
from zenzefi.tokens.clock import Clock
from zenzefi.tokens.errors import TokenExpired, TokenInvalid, TokenRevoked
from zenzefi.tokens.invalidation import (
    EXPIRED,
    REVOKED,
    InvalidationChannel,
    InvalidationMessage,
    Subscription,
)
from zenzefi.tokens.open_connections import ClientIdentity, OpenConnection, OpenConnections
from zenzefi.tokens.redis_cache import RedisCache
from zenzefi.tokens.revalidation import Revalidation
from zenzefi.tokens.single_flight import SingleFlight
from zenzefi.tokens.token_lookup import TokenLookup

_RENEW = 0.25  # seconds before its end that an entry in use is renewed
_MAX_RENEWALS = 2_000  # concurrent; beyond that an entry ends, and the next request waits
_MAX_ACTIVATIONS = 8  # concurrent, so that a flood leaves database connections for other queries
_MAINTENANCE = 1.0  # seconds between two updates of the metrics


class TokenValidator:
    """Validates and activates access tokens, and closes the connections of invalidated ones."""

    def __init__(
        self, database: Database, keyring: Keyring, redis_cache: RedisCache | None = None
    ) -> None:
        self._database = database
        self._redis_cache = redis_cache
        self.clock = Clock()
        self.subscription = Subscription()
        self.open_connections = OpenConnections()
        self.cache = TokenCache()
        self._known = self.cache.known
        self._lookup = TokenLookup(
            database,
            keyring,
            self.clock,
            self.cache,
            redis_cache,
            self.subscription,
            self._on_known,
        )
        self.lookups = SingleFlight(self._lookup.find)
        self.queue = LookupQueue(self._lookup.find)
        self.unknown_tokens = UnknownTokenLimiter()
        self.invalidation = InvalidationChannel(
            redis_cache, self._apply, self._on_subscription_change
        )
        self._revalidation = Revalidation(
            database,
            self.clock,
            self.open_connections,
            interval=self.life,
            on_expired=self._expire,
            on_revoked=self._revoke,
        )
        self._activations: dict[UUID, asyncio.Task[TokenAccess]] = {}
        self._activating = asyncio.Semaphore(_MAX_ACTIVATIONS)
        self._listeners: list[Callable[[InvalidationMessage], None]] = []
        self._subscription_listeners: list[Callable[[], None]] = []

    # --- the hot path

    def cached(self, token: str) -> TokenAccess | None:
        """The access of a token in the in-process cache; ``None``: call :meth:`validate`."""
        known = self._known.get(token)
        if known is None:
            return None
        left = known.until - monotonic()
        if left <= 0:
            return None
        if left < _RENEW and token not in self.lookups:
            self._renew(token)
        return known.access

    def _renew(self, token: str) -> None:
        if len(self.lookups) < _MAX_RENEWALS:
            self.lookups.join(token)

    # --- validation

    async def validate(self, token: str, address: str | None = None) -> TokenAccess:
        """The access that a token grants.

        ``address`` is the client's address, for the limit of unknown tokens. Raises
        ``TokenInvalid``, ``TokenExpired``, ``TokenRevoked`` (401), ``DatabaseUnavailable`` or
        ``Unavailable`` (503). Unknown tokens from a network over its limit raise
        ``TooManyUnknownTokens`` (429); valid ones from there are accepted.
        """
        known = self.cached(token)
        if known is not None:
            return known
        if not token_format.is_well_formed(token):
            raise TokenInvalid
        now = monotonic()
        refusal = self.cache.refusal(token, now)
        if refusal is not None:
            raise refusal
        is_first = token not in self.lookups
        if is_first and not self.unknown_tokens.reserve(address, now):
            return await self._validate_queued(token, address or "")
        try:
            # Shielded: a caller that is cancelled must not cancel the look-up of the others.
            access = await asyncio.shield(self.lookups.join(token))
        except TokenInvalid:
            raise  # It stays counted, as after a cancellation: disconnecting early must not help.
        except Exception:
            if is_first:
                self.unknown_tokens.release(address)
            raise
        if is_first:
            self.unknown_tokens.release(address)
        return access

    async def _validate_queued(self, token: str, address: str) -> TokenAccess:
        """:meth:`validate` for a network over its limit of unknown tokens."""
        queued = self.queue.join(token, address)
        if queued is None:
            raise self.unknown_tokens.refusal(address, monotonic())
        try:
            return await asyncio.shield(queued)
        except TokenInvalid:
            raise self.unknown_tokens.refusal(address, monotonic()) from None

    def now(self) -> datetime:
        """The time of the database's clock, as far as this node knows it."""
        return self.clock.now()

    def seconds_left(self, access: TokenAccess) -> int:
        """Whole seconds until the token expires, by the database's clock; never negative.

        For values that clients see: status, cookies, countdowns.
        """
        return max(0, int(access.seconds_left(self.now())))

    def life(self) -> float:
        """Seconds for which a result may be cached now, and between two rechecks."""
        return token_lookup.LIFE if self.subscription.is_live else token_lookup.LIFE_ALONE

    # --- activation

    async def activate(self, access: TokenAccess) -> TokenAccess:
        """Activate a token that is not activated yet, and return its access with the times.

        Of concurrent first uses, on any number of nodes, exactly one activates it. Raises the
        errors of :meth:`validate`.
        """
        if access.is_activated:
            return access
        token_id = access.token_id
        token = self.cache.plaintext_of(token_id)
        known = None if token is None else self.cached(token)
        if known is not None and known.is_activated:
            return known
        running = self._activations.get(token_id)
        if running is None:
            running = asyncio.create_task(self._activate(token_id), name="token activation")
            self._activations[token_id] = running
            running.add_done_callback(lambda done: self._on_activated(token_id, done))
        return await asyncio.shield(running)

    def _on_activated(self, token_id: UUID, done: asyncio.Task[TokenAccess]) -> None:
        self._activations.pop(token_id, None)
        if not done.cancelled():
            done.exception()  # retrieved: all callers may have been cancelled

    async def _activate(self, token_id: UUID) -> TokenAccess:
        started, wall = monotonic(), self.clock.wall()
        async with self._activating, self._database.begin() as connection:
            state = await repository.activate(connection, token_id)
        if state is None:
            raise TokenInvalid
        self.clock.note(state.now, wall)
        if state.is_revoked:
            raise TokenRevoked
        if state.is_expired:
            raise TokenExpired
        token = self.cache.plaintext_of(token_id)
        if token is not None:
            result = self._lookup.admit(token, state.access, started)
            if isinstance(result, Exception):
                raise result
            if self._redis_cache is not None:
                await self._redis_cache.put([(token, state.access, None)], self.now())
        self._set_timer(state.access)
        return state.access

    # --- open connections

    def register(
        self,
        access: TokenAccess,
        close: Callable[[str], None],
        client: ClientIdentity | None = None,
    ) -> OpenConnection:
        """Register an open connection. ``close(reason)`` is called at most once, in the loop,
        when the token ends, or the session or sign-in of ``client``."""
        connection = self.open_connections.add(access, close, client)
        # The token may have been activated after ``access`` was read.
        self._set_timer(self.cache.of(access.token_id) or access)
        return connection

    @property
    def is_closing(self) -> bool:
        """Whether open connections wait to be closed in a later step of the event loop."""
        return self.open_connections.is_closing

    def is_signed_out(self, client: ClientIdentity) -> bool:
        """Whether the client's sign-in is known to have ended."""
        return client.sign_in is not None and self.open_connections.has_ended(client.sign_in)

    def _on_known(self, access: TokenAccess) -> None:
        if access.token_id in self.open_connections:
            self._set_timer(access)

    def _set_timer(self, access: TokenAccess) -> None:
        if access.is_activated and not self.open_connections.has_timer(access.token_id):
            left = access.seconds_left(self.now())
            self.open_connections.set_timer(access.token_id, left, self._expire)

    def _expire(self, token_id: UUID) -> None:
        self.cache.end_token(token_id, TokenExpired, monotonic())
        self.open_connections.end_token(token_id, EXPIRED)

    def _revoke(self, token_id: UUID, reason: str = REVOKED) -> None:
        self.cache.end_token(token_id, TokenRevoked, monotonic())
        self.open_connections.end_token(token_id, reason)

    # --- invalidation

    def on_invalidation(self, listener: Callable[[InvalidationMessage], None]) -> None:
        """Call ``listener`` with each invalidation message, of this node and of others."""
        self._listeners.append(listener)

    def on_subscription_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when the subscription becomes live or is lost."""
        self._subscription_listeners.append(listener)

    async def announce(self, message: InvalidationMessage, entries: list[str]) -> None:
        """Apply an invalidation on this node at once, and send it to all others.

        Call it after the transaction was committed. ``entries`` are the tokens concerned (for a
        sign-in the hexadecimal index of its secret). If Redis is unavailable, they are sent later.
        """
        self._apply(message)
        await self.invalidation.announce(message, entries)

    def _apply(self, message: InvalidationMessage) -> None:
        match message.kind:
            case "token":
                self._revoke(message.id, message.reason)
            case "user" | "connections":
                if message.kind == "user":
                    self.cache.end_user(message.id, monotonic())
                self.open_connections.end_user(message.id, message.reason)
            case "device":
                self.open_connections.end_token(message.id, message.reason)
            case "sign_in":
                self.open_connections.end_sign_in(message.id, message.reason)
            case "restored":
                self.cache.restore_user(message.id)
        for listener in self._listeners:
            listener(message)

    def _on_subscription_change(self, is_live: bool) -> None:
        if not self.subscription.change(is_live):
            return
        INVALIDATION_SUBSCRIPTION.set(is_live)
        self.cache.clear_known()
        self._revalidation.request()
        for listener in self._subscription_listeners:
            listener()

    # --- background work

    def _maintain(self) -> None:
        self.cache.sweep(monotonic())
        for name, size in (
            ("tokens", len(self.cache.known)),
            ("refused_tokens", len(self.cache.refused)),
            ("ended_tokens", len(self.cache.invalidated)),
            ("guessing_subscribers", len(self.unknown_tokens)),
            ("token_lookups", len(self.lookups)),
            ("queued_token_lookups", len(self.queue)),
            ("unsent_ends", len(self.invalidation)),
        ):
            CACHE_ENTRIES.labels(name).set(size)
        OPEN_TOKEN_CONNECTIONS.set(len(self.open_connections))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Receive invalidations and recheck open connections while the context is open."""
        self._maintain()
        try:
            async with AsyncExitStack() as stack:
                for name, work in [
                    ("revalidation of open connections", self._revalidation.run()),
                    *self.invalidation.background_work(),
                ]:
                    await stack.enter_async_context(background_task(work, name=name))
                await stack.enter_async_context(
                    repeat_every(_MAINTENANCE, self._maintain, name="token cache maintenance")
                )
                yield
        finally:
            await self.lookups.close()
            await self.queue.close()
            await self._lookup.close()
            await asyncio.gather(*self._activations.values(), return_exceptions=True)
            self.open_connections.clear()


TOKEN_VALIDATOR: web.AppKey[TokenValidator] = web.AppKey("token_validator", TokenValidator)
"""The application's :class:`TokenValidator`."""

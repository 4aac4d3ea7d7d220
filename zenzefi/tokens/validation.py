"""Validation of access tokens in three tiers, and their invalidation on every node.

In-process (a dictionary, seconds) -> Redis -> database. The hot path is
:meth:`TokenValidator.cached`: one dictionary look-up and one comparison. ``cache`` holds what this
process remembers, ``lookups`` the look-ups under way, ``open_connections`` the connections of each
token; ``invalidation`` sends and receives the messages between nodes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from time import monotonic
from typing import Any
from uuid import UUID

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from zenzefi.db.engine import Database
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.keys import Keyring
from zenzefi.observability.metrics import (
    CACHE_ENTRIES,
    ENDS_SUBSCRIPTION,
    OPEN_HOLDS,
    TOKEN_LOOKUPS,
)
from zenzefi.tokens import repository, token_format
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.brute_force import Queue, UnknownTokenLimiter
from zenzefi.tokens.cache import TokenCache
from zenzefi.tokens.clock import Clock
from zenzefi.tokens.errors import TokenExpired, TokenInvalid, TokenRejected, TokenRevoked
from zenzefi.tokens.invalidation import InvalidationChannel, InvalidationMessage
from zenzefi.tokens.lookups import DatabaseLookup
from zenzefi.tokens.open_connections import ClientIdentity, OpenConnection, OpenConnections
from zenzefi.tokens.redis_cache import RedisCache, RedisEntry
from zenzefi.tokens.single_flight import Results, SingleFlight

log = logging.getLogger(__name__)

LIFE = 5.0
"""Seconds that an answer stays in this process while the subscription stands."""
LIFE_ALONE = 1.0
"""The same without a subscription: revocations by other nodes are then seen this late."""
TRUSTED = 10.0
"""Seconds that Redis's word is taken before the database is asked again."""
_RENEW = 0.25  # seconds before its end that an answer in use is asked for again
_RENEWALS = 2_000  # at once; beyond that answers end, and those who need them ask
_ACTIVATIONS = 8  # at once, so that a flood leaves connections for everything else
_BATCH = 500
_CLOCK_EVERY = 30.0  # seconds between looks at the database's clock where nothing else asks
REVOKED = "The access token was revoked."
EXPIRED = "The access token has expired."
DEACTIVATED = "The account was deactivated."
SESSION_ENDED = "The session was ended."
DEVICE_RELEASED = "The device was released."
SIGNED_OUT = "This browser was logged out."
"""What is told to what is closed: the reason of a WebSocket's close frame."""


class TokenValidator:
    """Validates access tokens, starts their clocks, and ends what is open under them."""

    def __init__(
        self, database: Database, keyring: Keyring, redis_cache: RedisCache | None = None
    ) -> None:
        self._database = database
        self._redis_cache = redis_cache
        self.clock = Clock()
        self.open_connections = OpenConnections()
        self.cache = TokenCache()
        self.unknown_tokens = UnknownTokenLimiter()
        self.lookups = SingleFlight(self._look_up)
        self.queue = Queue(self._look_up)
        self.invalidation = InvalidationChannel(redis_cache, self._heard, self._live)
        self.is_live = False
        self._turned = 0.0  # when the subscription last came or went
        self._lookups = DatabaseLookup(database, keyring, self.clock)
        self._known = self.cache.known
        self._activations: dict[UUID, asyncio.Task[TokenAccess]] = {}
        self._activating = asyncio.Semaphore(_ACTIVATIONS)
        self._listeners: list[Callable[[InvalidationMessage], None]] = []
        self._turn_listeners: list[Callable[[], None]] = []
        self._doubt = asyncio.Event()  # set: what is open is to be checked at once

    # --- the hot path

    def cached(self, token: str) -> TokenAccess | None:
        """What this process knows of the token now; ``None``: ask :meth:`validate`."""
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
        """Ask shortly before the answer ends, so that nobody has to wait."""
        if len(self.lookups) < _RENEWALS:
            self.lookups.join(token)

    # --- validation

    async def validate(self, token: str, address: str | None = None) -> TokenAccess:
        """What a token grants.

        Raises ``TokenInvalid``, ``TokenExpired``, ``TokenRevoked`` (401), ``DatabaseUnavailable``
        or ``Unavailable`` (503). From an ``address`` whose network tries many unknown tokens an
        unknown one is ``TooManyUnknownTokens`` (429), and a good one lets in as everywhere.
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
            return await self._queued(token, address or "")
        try:
            # One flight for all who ask; the first to give up does not end it for the others.
            access = await asyncio.shield(self.lookups.join(token))
        except TokenInvalid:
            raise  # It stays counted, as after a cancellation: leaving early is no way around.
        except Exception:
            if is_first:
                self.unknown_tokens.give_back(address)
            raise
        if is_first:
            self.unknown_tokens.give_back(address)
        return access

    async def _queued(self, token: str, address: str) -> TokenAccess:
        """The answer for a network that sent too many unknown tokens, when its turn comes."""
        answer = self.queue.join(token, address)
        if answer is None:
            raise self.unknown_tokens.refusal(address, monotonic())
        try:
            return await asyncio.shield(answer)
        except TokenInvalid:
            raise self.unknown_tokens.refusal(address, monotonic()) from None

    async def _look_up(self, tokens: list[str]) -> Results[TokenAccess]:
        """Many tokens at once: Redis's word where it is fresh, the database's for the others."""
        asked = monotonic()
        answers: dict[str, TokenAccess | Exception] = {}
        entries: dict[str, RedisEntry] = {}
        if self._redis_cache is not None:
            entries = await self._redis_cache.get(tokens, self.now())
        open_questions = []
        for token in tokens:
            entry = entries.get(token)
            if entry is not None and entry.is_tombstone:
                answers[token] = self._refused(token, TokenRevoked)
            elif entry is not None and entry.access is not None and self._is_trusted(entry):
                TOKEN_LOOKUPS.labels("redis").inc()
                answers[token] = self._admitted(token, entry.access, asked)
            else:
                open_questions.append(token)
        if not open_questions:
            return answers
        try:
            states = await self._lookups.find(open_questions)
        except DatabaseUnavailable as error:
            for token in open_questions:
                answers[token] = self._without_database(token, entries.get(token), asked, error)
            return answers
        good: list[tuple[str, TokenAccess, RedisEntry | None]] = []
        for token in open_questions:
            answer = answers[token] = self._judged(token, states.get(token), asked)
            if isinstance(answer, TokenAccess) and answer.is_activated:
                good.append((token, answer, entries.get(token)))
        if self._redis_cache is not None and good:
            await self._redis_cache.put(good, self.now())
        return answers

    def _is_trusted(self, entry: RedisEntry) -> bool:
        """Whether Redis's word is enough. After an end was heard of it is not: Redis may be
        read-only, and then no tombstone came into it."""
        if entry.access is None or self.cache.is_doubtful(entry.access):
            return False
        return entry.age < (TRUSTED if self.is_live else LIFE_ALONE)

    def _without_database(
        self, token: str, entry: RedisEntry | None, asked: float, error: DatabaseUnavailable
    ) -> TokenAccess | Exception:
        """Known tokens go on until they end; what has ended stays ended."""
        if entry is None or entry.access is None:
            return error
        if self.cache.is_doubtful(entry.access):
            return self._refused(token, TokenRevoked)
        TOKEN_LOOKUPS.labels("redis_alone").inc()
        return self._admitted(token, entry.access, asked)

    def _judged(
        self, token: str, state: repository.State | None, asked: float
    ) -> TokenAccess | Exception:
        TOKEN_LOOKUPS.labels("database" if state is not None else "unknown").inc()
        if state is None:
            return self._refused(token, TokenInvalid)
        if state.is_revoked:
            return self._refused(token, TokenRevoked)
        return self._admitted(token, state.access, asked)

    def _admitted(self, token: str, access: TokenAccess, asked: float) -> TokenAccess | Exception:
        """Keep a good answer for a moment, unless its token has ended meanwhile."""
        now = monotonic()
        if self.cache.has_ended(access, asked):
            return self._refused(token, TokenRevoked)
        left = access.seconds_left(self.now())
        if left <= 0:
            return self._refused(token, TokenExpired)
        if asked <= self._turned:
            return access  # what ended meanwhile nobody may have heard of: good for this once
        life = LIFE if self.is_live else LIFE_ALONE
        # Counted from the question: the answer may have been true only then.
        self.cache.keep(token, access, min(asked + life, now + left))
        if access.token_id in self.open_connections:
            self._watch(access)
        return access

    def _refused(self, token: str, error: type[TokenRejected]) -> TokenRejected:
        self.cache.refuse(token, error, monotonic())
        return error()

    def now(self) -> datetime:
        """The time by the database's clock, as well as this node knows it."""
        return self.clock.now()

    def seconds_left(self, access: TokenAccess) -> int:
        """Whole seconds until the token ends, by the database's clock; never negative.

        For everything that is shown or set with an age: status, cookies, countdowns.
        """
        return max(0, int(access.seconds_left(self.now())))

    # --- activation

    async def activate(self, access: TokenAccess) -> TokenAccess:
        """Start the token's clock, if it does not run yet; the access with its times.

        Of many first uses at once, on any number of nodes, exactly one starts it. Raises as
        :meth:`validate`.
        """
        if access.is_activated:
            return access
        token_id = access.token_id
        token = self.cache.value_of(token_id)
        known = None if token is None else self.cached(token)
        if known is not None and known.is_activated:
            return known
        running = self._activations.get(token_id)
        if running is None:
            running = asyncio.create_task(self._activate(token_id), name="token activation")
            self._activations[token_id] = running
            running.add_done_callback(lambda done: self._activated(token_id, done))
        return await asyncio.shield(running)

    def _activated(self, token_id: UUID, done: asyncio.Task[TokenAccess]) -> None:
        self._activations.pop(token_id, None)
        if not done.cancelled():
            done.exception()  # seen here: everybody who asked may have given up meanwhile

    async def _activate(self, token_id: UUID) -> TokenAccess:
        asked, wall = monotonic(), self.clock.wall()
        async with self._activating, self._database.begin() as connection:
            state = await repository.activate(connection, token_id)
        if state is None:
            raise TokenInvalid
        self.clock.note(state.now, wall)
        if state.is_revoked:
            raise TokenRevoked
        if state.is_expired:
            raise TokenExpired
        token = self.cache.value_of(token_id)
        if token is not None:
            answer = self._admitted(token, state.access, asked)
            if isinstance(answer, Exception):
                raise answer
            if self._redis_cache is not None:
                await self._redis_cache.put([(token, state.access, None)], self.now())
        self._watch(state.access)
        return state.access

    # --- what is open

    def register(
        self, access: TokenAccess, close: Callable[[str], None], who: ClientIdentity | None = None
    ) -> OpenConnection:
        """Register something open (a socket, a stream) that must end with the token.

        ``close(reason)`` is called at most once, from the event loop, with a sentence that
        says why. ``who`` uses it: the end of their session is the end of this, too. Use it as a
        context manager, or call :meth:`OpenConnection.release`.
        """
        hold = self.open_connections.add(access, close, who)
        # Since ``access`` was read the clock may have been started.
        self._watch(self.cache.of(access.token_id) or access)
        return hold

    def _watch(self, access: TokenAccess) -> None:
        if access.is_activated and not self.open_connections.has_timer(access.token_id):
            left = access.seconds_left(self.now())
            self.open_connections.set_timer(access.token_id, left, self._expire)

    def _expire(self, token_id: UUID) -> None:
        self.cache.end_token(token_id, TokenExpired, monotonic())
        self.open_connections.end_token(token_id, EXPIRED)

    # --- ends

    def on_end(self, listener: Callable[[InvalidationMessage], None]) -> None:
        """Have other parts of this node hear of ends too (device claims, sessions)."""
        self._listeners.append(listener)

    def on_turn(self, listener: Callable[[], None]) -> None:
        """Tell other parts of this node when the subscription comes or goes."""
        self._turn_listeners.append(listener)

    def is_signed_out(self, who: ClientIdentity) -> bool:
        """Whether the sign-in behind this use is known to have ended."""
        return who.sign_in is not None and self.open_connections.has_ended(who.sign_in)

    async def announce(self, ended: InvalidationMessage, tokens: list[str]) -> None:
        """Make an end known: here at once, to all nodes within a second.

        Call it after the transaction has been committed. ``tokens`` are the values concerned (of a
        sign-in the hexadecimal index of its secret); what Redis can't take now is sent when it is
        back.
        """
        self._heard(ended)
        await self.invalidation.announce(ended, tokens)

    def _heard(self, ended: InvalidationMessage) -> None:
        now = monotonic()
        if ended.kind == "token":
            self.cache.end_token(ended.id, TokenRevoked, now)
            self.open_connections.end_token(ended.id, ended.reason)
        elif ended.kind == "user":
            self.cache.end_user(ended.id, now)
            self.open_connections.end_user(ended.id, ended.reason)
        elif ended.kind == "device":
            self.open_connections.end_token(ended.id, ended.reason)
        elif ended.kind == "sign_in":
            self.open_connections.end_sign_in(ended.id, ended.reason)
        elif ended.kind == "restored":
            self.cache.restore_user(ended.id)
        for listener in self._listeners:
            listener(ended)

    # --- life

    def _live(self, is_live: bool) -> None:
        if is_live != self.is_live:
            self.is_live = is_live
            self._turned = monotonic()
            ENDS_SUBSCRIPTION.set(is_live)
            # What was said while nobody listened is unknown: ask again about everything.
            self.cache.forget_all()
            self._doubt.set()
            for listener in self._turn_listeners:
                listener()

    async def _look_after(self) -> None:
        """Every second: figures. Every few seconds, and when in doubt: is what is open still good?
        That is the net under a lost word of an end."""
        checked = clock_read = -_CLOCK_EVERY
        while True:
            self._count()
            self.cache.sweep(monotonic())
            life = LIFE if self.is_live else LIFE_ALONE
            if self._doubt.is_set() or monotonic() >= checked + life:
                self._doubt.clear()
                checked = monotonic()
                try:
                    if await self._check_held():
                        clock_read = checked
                    elif checked >= clock_read + _CLOCK_EVERY:
                        await self._read_clock()
                        clock_read = checked
                except DatabaseUnavailable:
                    pass  # known tokens go on; the next look comes soon
                except SQLAlchemyError:
                    log.exception("what is open can't be checked")
            with suppress(TimeoutError):
                async with asyncio.timeout(LIFE_ALONE):
                    await self._doubt.wait()

    async def _check_held(self) -> bool:
        """Whether there was anything to check."""
        held = list(self.open_connections)
        for start in range(0, len(held), _BATCH):
            await self._check_batch(held[start : start + _BATCH])
        return bool(held)

    async def _check_batch(self, ids: list[UUID]) -> None:
        asked = self.clock.wall()
        async with self._database.read() as connection:
            standing = await repository.standing(connection, ids)
            fallen = [token_id for token_id in ids if token_id not in standing]
            states = {}
            if fallen:
                states = {s.access.token_id: s for s in await repository.states(connection, fallen)}
            self.clock.note(await repository.time(connection), asked)
        for token_id in fallen:
            state = states.get(token_id)
            if state is not None and not state.is_revoked:
                self._expire(token_id)
            else:
                now = monotonic()
                self.cache.end_token(token_id, TokenRevoked, now)
                self.open_connections.end_token(token_id, REVOKED)

    async def _read_clock(self) -> None:
        asked = self.clock.wall()
        async with self._database.read() as connection:
            self.clock.note(await repository.time(connection), asked)

    def _count(self) -> None:
        for name, size in (
            ("tokens", len(self.cache.known)),
            ("refused_tokens", len(self.cache.refused)),
            ("ended_tokens", len(self.cache.ended)),
            ("guessing_subscribers", len(self.unknown_tokens)),
            ("token_lookups", len(self.lookups)),
            ("queued_token_lookups", len(self.queue)),
            ("unsent_ends", len(self.invalidation)),
        ):
            CACHE_ENTRIES.labels(name).set(size)
        OPEN_HOLDS.set(len(self.open_connections))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen for ends and look after what is open, for as long as the node runs."""
        work: list[tuple[str, Coroutine[Any, Any, None]]] = [("held tokens", self._look_after())]
        work += self.invalidation.work()
        tasks = [asyncio.create_task(job, name=name) for name, job in work]
        try:
            yield
        finally:
            await _stop(tasks)
            await self.lookups.close()
            await self.queue.close()
            await self._lookups.close()
            await asyncio.gather(*self._activations.values(), return_exceptions=True)
            self.open_connections.close()


async def _stop(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: a client library may lose a cancellation that comes together
    with one of its own time-outs."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.2)


TOKEN_VALIDATOR: web.AppKey[TokenValidator] = web.AppKey("token_validator", TokenValidator)

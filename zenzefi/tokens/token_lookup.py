"""Look-ups of access tokens below the in-process cache: first in Redis, then in the database.

The lifetimes and their reasons are described in :mod:`zenzefi.tokens.validation`.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from zenzefi.db.engine import Database
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.keys import Keyring
from zenzefi.observability.metrics import TOKEN_LOOKUPS
from zenzefi.tokens import repository, token_format
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.cache import TokenCache
from zenzefi.tokens.circuit_breaker import CircuitBreaker
from zenzefi.tokens.clock import Clock
from zenzefi.tokens.errors import TokenExpired, TokenInvalid, TokenRejected, TokenRevoked
from zenzefi.tokens.invalidation import Subscription
from zenzefi.tokens.redis_cache import RedisCache
from zenzefi.tokens.redis_entries import RedisEntry
from zenzefi.tokens.single_flight import Results

LIFE = 5.0
"""Seconds for which a valid token is cached in this process while the subscription is live."""
LIFE_ALONE = 1.0
"""The same without a live subscription, when messages of other nodes are not received."""
TRUSTED = 10.0
"""Seconds since the last confirmation by the database for which an entry in Redis is used."""


class TokenLookup:
    """Looks up batches of tokens, and caches the results.

    ``on_known`` is called with each valid token.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        clock: Clock,
        cache: TokenCache,
        redis_cache: RedisCache | None,
        subscription: Subscription,
        on_known: Callable[[TokenAccess], None],
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._clock = clock
        self._cache = cache
        self._redis_cache = redis_cache
        self._subscription = subscription
        self._on_known = on_known
        self._circuit_breaker = CircuitBreaker()

    async def find(self, tokens: list[str]) -> Results[TokenAccess]:
        """The access, or the error, of each token.

        The errors are ``TokenInvalid``, ``TokenExpired``, ``TokenRevoked`` and
        ``DatabaseUnavailable``.
        """
        started = monotonic()
        entries: dict[str, RedisEntry] = {}
        if self._redis_cache is not None:
            entries = await self._redis_cache.get(tokens, self._clock.now())
        results, remaining = self._decide_by_redis(tokens, entries, started)
        if remaining:
            results |= await self._decide_by_database(remaining, entries, started)
        return results

    def _decide_by_redis(
        self, tokens: list[str], entries: dict[str, RedisEntry], started: float
    ) -> tuple[dict[str, TokenAccess | Exception], list[str]]:
        """The results that Redis may decide, and the remaining tokens."""
        results: dict[str, TokenAccess | Exception] = {}
        remaining = []
        for token in tokens:
            entry = entries.get(token)
            if entry is not None and entry.is_tombstone:
                results[token] = self._refuse(token, TokenRevoked)
            elif entry is not None and entry.access is not None and self._is_trusted(entry):
                TOKEN_LOOKUPS.labels("redis").inc()
                results[token] = self.admit(token, entry.access, started)
            else:
                remaining.append(token)
        return results, remaining

    async def _decide_by_database(
        self, tokens: list[str], entries: dict[str, RedisEntry], started: float
    ) -> dict[str, TokenAccess | Exception]:
        """The results of the database. Activated tokens are stored in Redis."""
        try:
            states = await self._circuit_breaker.call(
                lambda: self._query(tokens), "token look-up in the database"
            )
        except DatabaseUnavailable as error:
            return {
                token: self._without_database(token, entries.get(token), started, error)
                for token in tokens
            }
        results: dict[str, TokenAccess | Exception] = {}
        stored: list[tuple[str, TokenAccess, RedisEntry | None]] = []
        for token in tokens:
            result = results[token] = self._judge(token, states.get(token), started)
            if isinstance(result, TokenAccess) and result.is_activated:
                stored.append((token, result, entries.get(token)))
        if self._redis_cache is not None and stored:
            await self._redis_cache.put(stored, self._clock.now())
        return results

    async def _query(self, tokens: list[str]) -> dict[str, repository.TokenState]:
        by_index = {
            index: token for token in tokens for index in token_format.indexes(self._keyring, token)
        }
        started = self._clock.wall()
        async with self._database.read() as connection:
            found = await repository.find(connection, list(by_index))
        for state in found.values():
            self._clock.note(state.now, started)
            break
        return {by_index[index]: state for index, state in found.items()}

    def _is_trusted(self, entry: RedisEntry) -> bool:
        """Whether the entry is used without the database.

        It is not after an invalidation was received: a read-only Redis may have no tombstone.
        """
        if entry.access is None or self._cache.must_recheck(entry.access):
            return False
        return entry.age < (TRUSTED if self._subscription.is_live else LIFE_ALONE)

    def _without_database(
        self, token: str, entry: RedisEntry | None, started: float, error: DatabaseUnavailable
    ) -> TokenAccess | Exception:
        """While the database is unavailable, tokens with an entry in Redis stay valid until they
        expire, and invalidated tokens stay invalid."""
        if entry is None or entry.access is None:
            return error
        if self._cache.must_recheck(entry.access):
            return self._refuse(token, TokenRevoked)
        TOKEN_LOOKUPS.labels("redis_alone").inc()
        return self.admit(token, entry.access, started)

    def _judge(
        self, token: str, state: repository.TokenState | None, started: float
    ) -> TokenAccess | Exception:
        TOKEN_LOOKUPS.labels("database" if state is not None else "unknown").inc()
        if state is None:
            return self._refuse(token, TokenInvalid)
        if state.is_revoked:
            return self._refuse(token, TokenRevoked)
        return self.admit(token, state.access, started)

    def admit(self, token: str, access: TokenAccess, started: float) -> TokenAccess | TokenRejected:
        """Cache the access that a look-up started at ``started`` found, unless it is outdated.

        Returns the access, or the error if the token was invalidated during the look-up or has
        expired.
        """
        now = monotonic()
        if self._cache.is_outdated(access, started):
            return self._refuse(token, TokenRevoked)
        left = access.seconds_left(self._clock.now())
        if left <= 0:
            return self._refuse(token, TokenExpired)
        if started <= self._subscription.changed_at:
            return access  # not cached: a message may have been missed during the look-up
        life = LIFE if self._subscription.is_live else LIFE_ALONE
        # From the start of the look-up: the state may have changed after it was read.
        self._cache.keep(token, access, min(started + life, now + left))
        self._on_known(access)
        return access

    def _refuse(self, token: str, error: type[TokenRejected]) -> TokenRejected:
        self._cache.refuse(token, error, monotonic())
        return error()

    async def close(self) -> None:
        """Cancel hanging queries."""
        await self._circuit_breaker.close()

"""Sign-ins of browsers at the proxy: a random secret in a cookie, its keyed hash in the database.

The proxy cookie contains the access token, and a script of the upstream can set one. Therefore a
browser's proxy cookie is accepted only together with a second cookie, which contains the secret of
a sign-in made with this token (ADR 0015). A sign-in expires with its cookie and ends by logging
out: on every node within a second by a message, and within the lifetime of a cached entry on a node
that missed the message.

Look-ups are cached in the process for seconds, shared and batched. The database decides. While it
is unavailable, sign-ins with an entry in Redis stay valid.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web
from sqlalchemy import delete, select, update

from zenzefi.bounded import BoundedDict
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.errors import Unavailable
from zenzefi.gate_cookies import browser_of, network_of
from zenzefi.keys import Keyring
from zenzefi.observability.metrics import CACHE_ENTRIES
from zenzefi.tasks import repeat_every
from zenzefi.tokens import token_format
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.circuit_breaker import CircuitBreaker
from zenzefi.tokens.errors import SignInRequired
from zenzefi.tokens.invalidation import SIGNED_OUT, InvalidationMessage
from zenzefi.tokens.models import access_tokens, proxy_sign_ins
from zenzefi.tokens.redis_cache import RedisCache
from zenzefi.tokens.redis_entries import TOMBSTONE
from zenzefi.tokens.sign_in_repository import (
    BY_INDEX,
    NOT_ENDED,
    BrowserSignIn,
    has_not_ended,
    sign_in_record,
)
from zenzefi.tokens.single_flight import Results, SingleFlight
from zenzefi.tokens.validation import TokenValidator

MAX_KNOWN = 50_000
MAX_PER_TOKEN = 100
"""Sign-ins with one token. Beyond this the oldest ones are deleted."""
UNKNOWN_LIFE = 3.0
"""Seconds for which an unknown or ended secret is cached."""
_RENEW = 0.25  # seconds before its end that an entry in use is renewed
_MAX_RENEWALS = 2_000  # concurrent
_BATCH = 500
_PURPOSE = "proxy-sign-in"
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_s = proxy_sign_ins.c


@dataclass(slots=True)
class _Known:
    sign_in: BrowserSignIn | None  # None: unknown or ended
    until: float


class BrowserSignIns:
    """The service of sign-ins at the proxy."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        token_validator: TokenValidator,
        redis_cache: RedisCache | None = None,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._token_validator = token_validator
        self._redis_cache = redis_cache
        self._known: BoundedDict[str, _Known] = BoundedDict(MAX_KNOWN)
        self._circuit_breaker = CircuitBreaker()
        self._lookups: SingleFlight[BrowserSignIn | None] = SingleFlight(self._look_up)
        token_validator.on_invalidation(self._on_invalidation)
        token_validator.on_subscription_change(self._known.clear)

    # --- the hot path

    def cached(self, secret: str) -> BrowserSignIn | None:
        """The sign-in of a secret in the in-process cache; ``None``: call :meth:`find`."""
        known = self._known.get(secret)
        if known is None or known.sign_in is None:
            return None
        left = known.until - monotonic()
        if left <= 0:
            return None
        if left < _RENEW and secret not in self._lookups and len(self._lookups) < _MAX_RENEWALS:
            self._lookups.join(secret)
        return known.sign_in

    # --- look-ups

    async def find(self, offered: Sequence[str]) -> list[tuple[str, BrowserSignIn]]:
        """The secrets that belong to a sign-in, each with its sign-in, in the order of ``offered``.

        Raises ``DatabaseUnavailable`` or ``Unavailable`` (503) if none was found and a look-up
        failed.
        """
        found: list[tuple[str, BrowserSignIn]] = []
        failure: Exception | None = None
        pending: list[tuple[str, asyncio.Future[BrowserSignIn | None]]] = []
        now = monotonic()
        for secret in offered:
            if not _SECRET.fullmatch(secret):
                continue
            known = self._known.get(secret)
            if known is None or known.until <= now:
                pending.append((secret, self._lookups.join(secret)))
            elif known.sign_in is not None:
                found.append((secret, known.sign_in))
        for secret, future in pending:
            try:
                sign_in = await asyncio.shield(future)
            except Unavailable as error:
                failure = error
            else:
                if sign_in is not None:
                    found.append((secret, sign_in))
        if failure is not None and not found:
            raise failure
        return found

    def belongs(self, sign_in: BrowserSignIn, token: str) -> bool:
        """Whether the sign-in was made with this access token."""
        return sign_in.token_index in token_format.indexes(self._keyring, token)

    async def _look_up(self, batch: list[str]) -> Results[BrowserSignIn | None]:
        started = monotonic()
        by_index = {i: one for one in batch for i in self._keyring.indexes(_PURPOSE, one)}
        indexes = list(by_index)
        held: dict[bytes, bytes] = {}
        if self._redis_cache is not None:
            held = await self._redis_cache.sign_ins(indexes)
        try:
            rows = await self._circuit_breaker.call(lambda: self._rows(indexes), "sign-in look-up")
        except DatabaseUnavailable as error:
            return self._without_database(by_index, held, started, error)
        found = {by_index[index]: sign_in for index, sign_in in rows.items()}
        results = {one: self._keep(one, found.get(one), started) for one in batch}
        if self._redis_cache is not None:
            await self._redis_cache.put_sign_ins(
                [self._entry(index, held.get(index, b""), rows[index]) for index in rows]
            )
        return results

    def _entry(
        self, index: bytes, before: bytes, sign_in: BrowserSignIn
    ) -> tuple[bytes, bytes, str, int]:
        left = int((sign_in.expires_at - self._token_validator.now()).total_seconds())
        return index, before, sign_in.to_json(), max(1, left)

    async def _rows(self, indexes: list[bytes]) -> dict[bytes, BrowserSignIn]:
        async with self._database.read() as connection:
            rows = await connection.execute(BY_INDEX, {"indexes": indexes})
            return {bytes(row.secret_index): sign_in_record(row) for row in rows}

    def _without_database(
        self,
        by_index: dict[bytes, str],
        held: dict[bytes, bytes],
        started: float,
        error: DatabaseUnavailable,
    ) -> Results[BrowserSignIn | None]:
        """The results while the database is unavailable, from the entries in Redis alone."""
        results: dict[str, BrowserSignIn | Exception | None] = dict.fromkeys(
            by_index.values(), error
        )
        for index, raw in held.items():
            secret = by_index[index]
            sign_in = None if raw == TOMBSTONE else BrowserSignIn.from_json(raw)
            if sign_in is not None and sign_in.expires_at > self._token_validator.now():
                results[secret] = self._keep(secret, sign_in, started)
            elif raw == TOMBSTONE:
                results[secret] = None
        return results

    def _keep(
        self, secret: str, sign_in: BrowserSignIn | None, started: float
    ) -> BrowserSignIn | None:
        """Cache the result of a look-up that started at ``started``, unless it is outdated."""
        if sign_in is not None and self._token_validator.open_connections.has_ended(sign_in.id):
            sign_in = None  # it ended during the look-up
        if started <= self._token_validator.subscription.changed_at:
            return sign_in  # not cached: a message may have been missed during the look-up
        life = UNKNOWN_LIFE
        if sign_in is not None:
            life = self._token_validator.life()
        self._known[secret] = _Known(sign_in, started + life)
        return sign_in

    # --- signing in

    async def start(
        self,
        access: TokenAccess,
        *,
        family: UUID | None,
        address: str,
        agent: str,
        is_sealed: bool,
    ) -> str:
        """Sign a browser in; its secret (43 URL-safe characters), which is not stored.

        ``family`` is the page session or sign-in from which this one is derived. Raises
        ``SignInRequired`` (401) if that has ended, and ``DatabaseUnavailable``.
        """
        started = monotonic()
        secret = secrets.token_urlsafe(32)
        now = self._token_validator.now()
        row_id = uuid4()
        async with self._database.begin() as connection:
            if family is not None and not await has_not_ended(connection, family):
                raise SignInRequired
            query = select(access_tokens.c.token_index).where(access_tokens.c.id == access.token_id)
            index = bytes((await connection.execute(query)).scalar_one())
            sign_in = BrowserSignIn(
                id=row_id,
                family=family or row_id,
                token_id=access.token_id,
                token_index=index,
                network=network_of(address)[:64],
                browser=browser_of(agent),
                is_sealed=is_sealed,
                expires_at=now + timedelta(seconds=max(1.0, access.seconds_left(now))),
            )
            await connection.execute(
                proxy_sign_ins.insert().values(
                    id=sign_in.id,
                    secret_index=self._keyring.index(_PURPOSE, secret),
                    token_id=access.token_id,
                    user_id=access.user_id,
                    family_id=sign_in.family,
                    network=sign_in.network,
                    agent=sign_in.browser,
                    is_sealed=is_sealed,
                    created_at=now,
                    expires_at=sign_in.expires_at,
                )
            )
            kept = (
                select(_s.id)
                .where(_s.token_id == access.token_id, _s.ended_at.is_(None))
                .order_by(_s.created_at.desc(), _s.id)
                .limit(MAX_PER_TOKEN)
            )
            await connection.execute(
                delete(proxy_sign_ins).where(_s.token_id == access.token_id, _s.id.not_in(kept))
            )
        self._keep(secret, sign_in, started)
        return secret

    # --- signing out

    async def end(self, family: UUID, reason: str = SIGNED_OUT) -> int:
        """End the sign-ins of a family on every node, and return their number.

        Raises ``DatabaseUnavailable``; then none has ended.
        """
        return await self._end(_s.family_id == family, reason)

    async def end_of_user(self, user_id: UUID, *, keep: UUID | None = None) -> int:
        """End the sign-ins of a user except the family ``keep``, and return their number."""
        which = _s.user_id == user_id
        return await self._end(
            which if keep is None else which & (_s.family_id != keep), SIGNED_OUT
        )

    async def _end(self, which: Any, reason: str) -> int:
        is_meant = which & _s.ended_at.is_(None)
        async with self._database.begin() as connection:
            query = select(_s.id, _s.secret_index).where(is_meant).with_for_update()
            rows = (await connection.execute(query)).all()
            if rows:
                await connection.execute(
                    update(proxy_sign_ins).where(is_meant).values(ended_at=utcnow())
                )
        for row in rows:
            await self._token_validator.announce(
                InvalidationMessage("sign_in", row.id, reason), [bytes(row.secret_index).hex()]
            )
        return len(rows)

    def _on_invalidation(self, message: InvalidationMessage) -> None:
        if message.kind != "sign_in":
            return
        for secret, known in list(self._known.items()):
            if known.sign_in is not None and known.sign_in.id == message.id:
                del self._known[secret]

    # --- open connections

    async def recheck(self) -> None:
        """Close open connections of sign-ins that have ended: the safety net for lost messages.

        Raises ``DatabaseUnavailable``.
        """
        open_ids = list(self._token_validator.open_connections.sign_ins())
        for start in range(0, len(open_ids), _BATCH):
            ids = open_ids[start : start + _BATCH]
            async with self._database.read() as connection:
                still = set((await connection.execute(NOT_ENDED, {"ids": ids})).scalars())
            for sign_in in ids:
                if sign_in not in still:
                    self._token_validator.open_connections.end_sign_in(sign_in, SIGNED_OUT)
                    self._on_invalidation(InvalidationMessage("sign_in", sign_in, SIGNED_OUT))

    async def _recheck_periodically(self) -> None:
        CACHE_ENTRIES.labels("sign_ins").set(len(self._known))
        await self.recheck()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Recheck the sign-ins of open connections while the context is open."""
        try:
            async with repeat_every(
                self._token_validator.life,
                self._recheck_periodically,
                name="revalidation of sign-ins",
                ignored=(DatabaseUnavailable,),
            ):
                yield
        finally:
            await self._lookups.close()
            await self._circuit_breaker.close()


SIGN_INS: web.AppKey[BrowserSignIns] = web.AppKey("sign_ins", BrowserSignIns)
"""The application's :class:`BrowserSignIns`."""

"""Sign-ins of browsers at the proxy: a random secret in a cookie, its keyed hash in the database.

The proxy cookie holds the access token, and a script of the upstream can plant one. It counts in a
browser only beside a second cookie with the secret of a sign-in that belongs to this very token
(ADR 0015). A sign-in ends by itself with its cookie, and by logging out: on every node within a
second, by a message, and within the life of a cached entry on a node that missed it.

Look-ups are cached in the process for seconds, shared and batched. The database decides; while it
is away, Redis vouches for the sign-ins that it knows.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web
from sqlalchemy import delete, select, update
from sqlalchemy.exc import SQLAlchemyError

from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.errors import Unavailable
from zenzefi.gate_cookies import browser_of, network_of
from zenzefi.keys import Keyring
from zenzefi.observability.metrics import CACHE_ENTRIES
from zenzefi.tokens import token_format
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.errors import SignInRequired
from zenzefi.tokens.invalidation import InvalidationMessage
from zenzefi.tokens.lookups import CircuitBreaker
from zenzefi.tokens.models import access_tokens, proxy_sign_ins
from zenzefi.tokens.redis_cache import TOMBSTONE, RedisCache
from zenzefi.tokens.sign_in_repository import BY_INDEX, OPEN, BrowserSignIn, is_open, of_row
from zenzefi.tokens.single_flight import Results, SingleFlight
from zenzefi.tokens.validation import LIFE, LIFE_ALONE, SIGNED_OUT, TokenValidator

log = logging.getLogger(__name__)

MAX_KNOWN = 50_000
MAX_PER_TOKEN = 100
"""Sign-ins with one token; beyond them the oldest are forgotten."""
UNKNOWN_LIFE = 3.0
"""Seconds that an unknown or ended secret is remembered."""
_RENEW = 0.25  # seconds before its end that an entry in use is looked up again
_RENEWALS = 2_000  # at once
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
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._patience = CircuitBreaker()
        self._flights: SingleFlight[BrowserSignIn | None] = SingleFlight(self._look_up)
        self._turned = 0.0  # when the subscription to messages last came or went
        token_validator.on_end(self._heard)
        token_validator.on_turn(self._turn)

    # --- the hot path

    def cached(self, secret: str) -> BrowserSignIn | None:
        """The live sign-in that this process knows now; ``None``: ask :meth:`find`."""
        known = self._known.get(secret)
        if known is None or known.sign_in is None:
            return None
        left = known.until - monotonic()
        if left <= 0:
            return None
        if left < _RENEW and secret not in self._flights and len(self._flights) < _RENEWALS:
            self._flights.join(secret)
        return known.sign_in

    # --- look-ups

    async def find(self, offered: Sequence[str]) -> list[tuple[str, BrowserSignIn]]:
        """The live sign-ins among these secrets, with their secrets, in the order given.

        Raises ``DatabaseUnavailable`` or ``Unavailable`` (503) where that can't be told of any.
        """
        found: list[tuple[str, BrowserSignIn]] = []
        failure: Exception | None = None
        asked: list[tuple[str, asyncio.Future[BrowserSignIn | None]]] = []
        now = monotonic()
        for secret in offered:
            if not _SECRET.fullmatch(secret):
                continue
            known = self._known.get(secret)
            if known is None or known.until <= now:
                asked.append((secret, self._flights.join(secret)))
            elif known.sign_in is not None:
                found.append((secret, known.sign_in))
        for secret, flight in asked:
            try:
                sign_in = await asyncio.shield(flight)
            except Unavailable as error:
                failure = error
            else:
                if sign_in is not None:
                    found.append((secret, sign_in))
        if failure is not None and not found:
            raise failure
        return found

    def belongs(self, sign_in: BrowserSignIn, token: str) -> bool:
        """Whether the sign-in was made with this very access token."""
        return sign_in.token_index in token_format.indexes(self._keyring, token)

    async def _look_up(self, asked: list[str]) -> Results[BrowserSignIn | None]:
        started = monotonic()
        by_index = {i: one for one in asked for i in self._keyring.indexes(_PURPOSE, one)}
        indexes = list(by_index)
        held: dict[bytes, bytes] = {}
        if self._redis_cache is not None:
            held = await self._redis_cache.sign_ins(indexes)
        try:
            rows = await self._patience.ask(lambda: self._rows(indexes), "sign-in look-up")
        except DatabaseUnavailable as error:
            return self._without_database(by_index, held, started, error)
        found = {by_index[index]: sign_in for index, sign_in in rows.items()}
        answers = {one: self._keep(one, found.get(one), started) for one in asked}
        if self._redis_cache is not None:
            await self._redis_cache.put_sign_ins(
                [self._entry(index, held.get(index, b""), rows[index]) for index in rows]
            )
        return answers

    def _entry(
        self, index: bytes, before: bytes, sign_in: BrowserSignIn
    ) -> tuple[bytes, bytes, str, int]:
        left = int((sign_in.expires_at - self._token_validator.now()).total_seconds())
        return index, before, sign_in.to_json(), max(1, left)

    async def _rows(self, indexes: list[bytes]) -> dict[bytes, BrowserSignIn]:
        async with self._database.read() as connection:
            rows = await connection.execute(BY_INDEX, {"indexes": indexes})
            return {bytes(row.secret_index): of_row(row) for row in rows}

    def _without_database(
        self,
        by_index: dict[bytes, str],
        held: dict[bytes, bytes],
        started: float,
        error: DatabaseUnavailable,
    ) -> Results[BrowserSignIn | None]:
        """Known ones go on, ended ones stay ended; of the others nothing can be told."""
        answers: dict[str, BrowserSignIn | Exception | None] = dict.fromkeys(
            by_index.values(), error
        )
        for index, raw in held.items():
            secret = by_index[index]
            sign_in = None if raw == TOMBSTONE else BrowserSignIn.from_json(raw)
            if sign_in is not None and sign_in.expires_at > self._token_validator.now():
                answers[secret] = self._keep(secret, sign_in, started)
            elif raw == TOMBSTONE:
                answers[secret] = None
        return answers

    def _keep(
        self, secret: str, sign_in: BrowserSignIn | None, started: float
    ) -> BrowserSignIn | None:
        """Remember a look-up for a moment, counted from when it was started."""
        if sign_in is not None and self._token_validator.open_connections.has_ended(sign_in.id):
            sign_in = None  # it ended meanwhile
        if started <= self._turned:
            return sign_in  # what ended meanwhile may not have been heard of: good for this once
        life = UNKNOWN_LIFE
        if sign_in is not None:
            life = LIFE if self._token_validator.is_live else LIFE_ALONE
        self._known[secret] = _Known(sign_in, started + life)
        self._known.move_to_end(secret)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return sign_in

    # --- beginning

    async def start(
        self,
        access: TokenAccess,
        *,
        family: UUID | None,
        address: str,
        agent: str,
        is_sealed: bool,
    ) -> str:
        """Sign a browser in; its secret (43 URL-safe characters), which is kept nowhere.

        ``family`` is the page session or the sign-in that this one comes from. Raises
        ``SignInRequired`` when that has ended, and ``DatabaseUnavailable``.
        """
        started = monotonic()
        secret = secrets.token_urlsafe(32)
        now = self._token_validator.now()
        row_id = uuid4()
        async with self._database.begin() as connection:
            if family is not None and not await is_open(connection, family):
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

    # --- ending

    async def end(self, family: UUID, reason: str = SIGNED_OUT) -> int:
        """End all sign-ins of this family, on every node; how many.

        Raises ``DatabaseUnavailable``: then none has ended.
        """
        return await self._end(_s.family_id == family, reason)

    async def end_of_user(self, user_id: UUID, *, keep: UUID | None = None) -> int:
        """End all sign-ins of a user, but for one family; how many."""
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

    def _heard(self, ended: InvalidationMessage) -> None:
        if ended.kind != "sign_in":
            return
        for secret, known in list(self._known.items()):
            if known.sign_in is not None and known.sign_in.id == ended.id:
                del self._known[secret]

    def _turn(self) -> None:
        """Messages may have been missed: look everything up again."""
        self._turned = monotonic()
        self._known.clear()

    # --- what is open

    async def check_open(self) -> None:
        """End what is open under sign-ins that have ended: the net under a lost message.

        Raises ``DatabaseUnavailable``.
        """
        held = list(self._token_validator.open_connections.sign_ins())
        for start in range(0, len(held), _BATCH):
            ids = held[start : start + _BATCH]
            async with self._database.read() as connection:
                still = set((await connection.execute(OPEN, {"ids": ids})).scalars())
            for sign_in in ids:
                if sign_in not in still:
                    self._token_validator.open_connections.end_sign_in(sign_in, SIGNED_OUT)
                    self._heard(InvalidationMessage("sign_in", sign_in, SIGNED_OUT))

    async def _check_repeatedly(self) -> None:
        while True:
            await asyncio.sleep(LIFE if self._token_validator.is_live else LIFE_ALONE)
            CACHE_ENTRIES.labels("sign_ins").set(len(self._known))
            try:
                await self.check_open()
            except DatabaseUnavailable:
                continue
            except SQLAlchemyError:
                log.exception("failed to check open sign-ins")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Check what is open, for as long as the node runs."""
        task = asyncio.create_task(self._check_repeatedly(), name="open sign-ins")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self._flights.close()
            await self._patience.close()


SIGN_INS: web.AppKey[BrowserSignIns] = web.AppKey("sign_ins", BrowserSignIns)

"""Renewals: when an access token ends, its owner's balance buys another one like it.

Theory of operation
===================

The owner switches the renewal of a token on and sets a ceiling. It is one row of ``renewals``::

    waiting ──the token has ended──> renewed, or failed
    waiting ──the owner stops it, the token is revoked──> stopped ──switched on──> waiting

A periodic job of the cluster renews the tokens that have ended. The row is unique by its token, it
is locked, and its status is part of the condition: concurrent runs, also of two nodes, renew a
token once. Status, debit, new token and ledger row are written in one transaction. The renewal of
the new token is switched on in it, with the same ceiling.

- The price is the current one. A renewal above the ceiling fails and costs nothing.
- A renewal that fails is not repeated: its owner is notified, and buys again.
- The new token has a new value, and its time starts with its first use. A token that is not used
  does not end, so it is not renewed either, and it can be revoked for a full refund.
- A token that ended more than a day ago is not renewed, for example after a long outage.

The user's row is locked first, as by all transactions that move money (``billing/ledger.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web
from sqlalchemy import Row, Select, select, update

from zenzefi.accounts.models import users
from zenzefi.audit.log import Actor, record
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import hours_after, utcnow
from zenzefi.db.engine import Database
from zenzefi.db.upsert import insert_into
from zenzefi.errors import GateError, NotFound
from zenzefi.observability.metrics import TOKEN_RENEWALS
from zenzefi.tokens.errors import NotRenewable
from zenzefi.tokens.models import access_tokens, renewals
from zenzefi.tokens.service import Tokens
from zenzefi.tokens.token_records import is_active

log = logging.getLogger(__name__)

_r, _t = renewals.c, access_tokens.c
_BATCH = 100
_MAX_BATCHES = 20  # of one run
_RENEWED_FOR = 24  # hours after the end of a token
_ENDS_AT = hours_after(_t.activated_at, _t.duration_hours)

PRICE_ABOVE_CEILING = "price_above_ceiling"
TOO_LATE = "too_late"
STOPPED_BY_OWNER = "stopped_by_owner"
TOKEN_REVOKED = "token_revoked"  # noqa: S105 - not a secret


@dataclass(frozen=True, slots=True)
class Renewal:
    """The renewal of one token; the fields are columns of ``renewals``."""

    token_id: UUID
    user_id: UUID
    ceiling: Decimal
    """The highest price that is paid, in ZNC."""
    status: str
    reason: str | None
    """Why it failed or was stopped: the code of an error, or a constant of this module."""
    price: Decimal | None
    next_token_id: UUID | None

    @property
    def is_on(self) -> bool:
        """Whether the token will be renewed when it ends."""
        return self.status == "waiting"


def _renewal(row: Row[Any]) -> Renewal:
    return Renewal(**{name: row._mapping[name] for name in Renewal.__dataclass_fields__})


class Renewals:
    """The service of renewals."""

    def __init__(self, database: Database, tokens: Tokens) -> None:
        self._database = database
        self._tokens = tokens

    async def find(self, token_id: UUID, user_id: UUID) -> Renewal | None:
        """The renewal of a user's token; ``None`` if it was never switched on."""
        query = select(renewals).where(_r.token_id == token_id, _r.user_id == user_id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _renewal(row)

    async def switch_on(
        self, actor: Actor, token_id: UUID, user_id: UUID, ceiling: Decimal
    ) -> Renewal:
        """Renew a user's token when it ends, at a price of at most ``ceiling`` ZNC.

        A repeated call changes the ceiling. Raises ``NotFound``, and ``NotRenewable`` for a token
        that has ended.
        """
        async with self._database.begin() as connection:
            await _lock_owner(connection, user_id)
            query = select(is_active().label("is_active")).where(
                _t.id == token_id, _t.user_id == user_id
            )
            token = (await connection.execute(query)).one_or_none()
            if token is None:
                raise NotFound("There is no such access token.")
            if not token.is_active:
                raise NotRenewable
            await self._insert(connection, token_id, user_id, ceiling)
            await record(connection, actor, "renewal.on", "token", token_id, price=f"{ceiling:.2f}")
            return await _locked(connection, token_id)

    async def _insert(
        self, connection: AsyncConnection, token_id: UUID, user_id: UUID, ceiling: Decimal
    ) -> None:
        insert = insert_into(self._database.dialect, renewals).values(
            id=uuid4(), token_id=token_id, user_id=user_id, ceiling=ceiling, status="waiting"
        )
        # The token is active, so that its renewal waits or was stopped.
        changed = {"ceiling": ceiling, "status": "waiting", "reason": None, "updated_at": utcnow()}
        await connection.execute(
            insert.on_conflict_do_update(index_elements=[_r.token_id], set_=changed)
        )

    async def stop(self, actor: Actor, token_id: UUID, user_id: UUID) -> Renewal:
        """Do not renew a user's token. A second call changes nothing.

        Raises ``NotFound`` if the renewal was never switched on, and ``NotRenewable`` if it took
        place before.
        """
        async with self._database.begin() as connection:
            await _lock_owner(connection, user_id)
            done = await connection.execute(
                update(renewals)
                .where(_r.token_id == token_id, _r.user_id == user_id, _r.status == "waiting")
                .values(status="stopped", reason=STOPPED_BY_OWNER, updated_at=utcnow())
            )
            if done.rowcount == 1:
                await record(connection, actor, "renewal.off", "token", token_id)
                TOKEN_RENEWALS.labels("stopped").inc()
        found = await self.find(token_id, user_id)
        if found is None:
            raise NotFound("This access token has no renewal.")
        if found.status == "renewed":
            raise NotRenewable("This access token was renewed before.")
        return found

    async def renew_ended(self) -> None:
        """Renew the tokens that have ended; a periodic job.

        A renewal that can't be handled is logged and does not stop the others, however often it is
        tried: each run goes on to the next batch, up to :data:`_MAX_BATCHES`.
        """
        seen: list[UUID] = []
        for _ in range(_MAX_BATCHES):
            async with self._database.read() as connection:
                found = (await connection.execute(_due(seen))).all()
            for row in found:
                await self._renew_or_log(row.token_id, row.user_id)
            seen += [row.token_id for row in found]
            if len(found) < _BATCH:
                return

    async def _renew_or_log(self, token_id: UUID, user_id: UUID) -> None:
        try:
            await self._renew(token_id, user_id)
        except Exception:
            log.exception("renewal interrupted, will retry: token=%s", token_id)
            TOKEN_RENEWALS.labels("interrupted").inc()

    async def _renew(self, token_id: UUID, user_id: UUID) -> None:
        async with self._database.begin() as connection:
            owner_is_active = await _lock_owner(connection, user_id)
            renewal = await _locked(connection, token_id)
            if not renewal.is_on:
                return  # another node was faster, or its owner stopped it
            # A separate statement, so that it sees what was committed before the lock was obtained.
            token = (await connection.execute(_token(token_id))).one()
            if token.revoked_at is not None or not owner_is_active:
                await self._finish(connection, renewal, "stopped", reason=TOKEN_REVOKED)
            elif token.is_late:
                await self._finish(connection, renewal, "failed", reason=TOO_LATE)
            elif token.has_ended:
                await self._purchase(connection, renewal, token)

    async def _purchase(
        self, connection: AsyncConnection, renewal: Renewal, token: Row[Any]
    ) -> None:
        try:
            async with connection.begin_nested():
                price = await self._tokens.price(token.duration_hours, token.scope, connection)
                if price > renewal.ceiling:
                    await self._finish(connection, renewal, "failed", reason=PRICE_ABOVE_CEILING)
                    return
                bought = await self._tokens.purchase(
                    connection,
                    Actor(user_id=renewal.user_id),
                    renewal.user_id,
                    duration_hours=token.duration_hours,
                    scope=token.scope,
                    name=token.name,
                    agreed=price,
                )
        except GateError as error:
            await self._finish(connection, renewal, "failed", reason=error.code)
            return
        await self._insert(connection, bought.id, renewal.user_id, renewal.ceiling)
        await self._finish(connection, renewal, "renewed", price=price, next_token_id=bought.id)

    async def _finish(
        self, connection: AsyncConnection, renewal: Renewal, status: str, **values: Any
    ) -> None:
        await connection.execute(
            update(renewals)
            .where(_r.token_id == renewal.token_id, _r.status == "waiting")
            .values(status=status, updated_at=utcnow(), **values)
        )
        details = {"reason": values["reason"]} if "reason" in values else {}
        await record(
            connection,
            Actor(user_id=renewal.user_id),
            f"renewal.{status}",
            "token",
            renewal.token_id,
            **details,
        )
        TOKEN_RENEWALS.labels(status).inc()


async def _lock_owner(connection: AsyncConnection, user_id: UUID) -> bool:
    """Lock the owner's row until the transaction ends; whether the account is active."""
    query = select(users.c.is_active).where(users.c.id == user_id)
    found = await connection.execute(query.with_for_update(key_share=True))
    return bool(found.scalar_one())


async def _locked(connection: AsyncConnection, token_id: UUID) -> Renewal:
    query = select(renewals).where(_r.token_id == token_id).with_for_update()
    return _renewal((await connection.execute(query)).one())


def _due(seen: Collection[UUID]) -> Select[Any]:
    """Waiting renewals of tokens that have ended or were revoked, the oldest end first.

    Without those of the tokens ``seen``.
    """
    return (
        select(_r.token_id, _r.user_id)
        .join(access_tokens, _t.id == _r.token_id)
        .where(_r.status == "waiting", ~is_active(), _r.token_id.not_in(seen))
        .order_by(_ENDS_AT, _r.id)
        .limit(_BATCH)
    )


def _token(token_id: UUID) -> Select[Any]:
    return select(
        *(_t.duration_hours, _t.scope, _t.name, _t.revoked_at),
        (utcnow() >= _ENDS_AT).label("has_ended"),
        (hours_after(_ENDS_AT, _RENEWED_FOR) <= utcnow()).label("is_late"),
    ).where(_t.id == token_id)


RENEWALS: web.AppKey[Renewals] = web.AppKey("renewals", Renewals)

"""Promo codes: a lower price for one access token.

Theory of operation
===================

A code takes a percentage or an amount off the price of a single token, once for each user, within
its period and its number of uses. The discounted price is what the token costs: it is debited,
written to the ledger and refunded, so that a refund never exceeds what was paid.

:func:`record_use` runs in the transaction of the purchase. One conditional UPDATE counts the use if
there is one left, and one row for each code and user (a unique constraint) remembers it. If either
is refused, the purchase is rolled back. So neither concurrent purchases nor several nodes exceed
the limits. The account is locked before the code, because the ledger is written first.

An order keeps the code and the price that its page showed. The period is checked when the order is
opened. The limits count when the payment arrives: if the code was used up meanwhile, the order
fails and the money stays on the balance.

A use stays used when the token is revoked and refunded. ``maintenance/reconciliation.py`` compares
uses with tokens.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web
from sqlalchemy import Row, and_, func, or_, select, update

from zenzefi.audit.log import Actor, record
from zenzefi.billing.ledger import ZERO
from zenzefi.billing.models import promo_codes, promo_uses
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.db.upsert import insert_into
from zenzefi.errors import NotFound
from zenzefi.observability.metrics import PROMO_CODE_USES
from zenzefi.tokens.errors import PromoCodeInvalid, PromoCodeTaken, PromoCodeUsed
from zenzefi.tokens.service import Tokens
from zenzefi.tokens.token_records import TokenRecord

CODE = re.compile(r"[A-Z0-9](?:[A-Z0-9-]{2,38})[A-Z0-9]")
"""4 to 40 letters, digits and hyphens."""
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # without letters that look like digits
_LENGTH = 12  # of a generated code: 60 bits
_CENT = Decimal("0.01")
_c, _u = promo_codes.c, promo_uses.c


@dataclass(frozen=True, slots=True)
class PromoCode:
    """A promo code; the fields are columns of ``promo_codes``."""

    id: UUID
    code: str
    percent: int | None
    amount: Decimal | None
    """In ZNC. Either ``percent`` or ``amount`` is set."""
    max_uses: int | None
    used: int
    starts_at: datetime | None
    ends_at: datetime | None
    is_active: bool
    created_at: datetime

    def price(self, full: Decimal) -> Decimal:
        """The price with this code in ZNC; the discount is rounded down to hundredths."""
        if self.amount is not None:
            return max(ZERO, full - self.amount)
        return full - (full * (self.percent or 0) / 100).quantize(_CENT, ROUND_DOWN)


def _promo_code(row: Row[Any]) -> PromoCode:
    return PromoCode(**{name: row._mapping[name] for name in PromoCode.__dataclass_fields__})


def normalized(code: str) -> str:
    """The code as it is stored: capital letters, without surrounding white space."""
    return code.strip().upper()


class PromoCodes:
    """The service of promo codes."""

    def __init__(self, database: Database, tokens: Tokens) -> None:
        self._database = database
        self._tokens = tokens

    # --- buyers

    async def valid(
        self, code: str, user_id: UUID, connection: AsyncConnection | None = None
    ) -> PromoCode:
        """The code, if this user can use it now; read in the caller's transaction if there is one.

        Raises ``PromoCodeInvalid``, also for unknown codes and those that are used up, and
        ``PromoCodeUsed`` if this user has used it before.
        """
        if connection is None:
            async with self._database.read() as reader:
                return await self.valid(code, user_id, reader)
        text = normalized(code)
        if not CODE.fullmatch(text):
            raise PromoCodeInvalid
        now = utcnow()
        query = select(promo_codes).where(
            _c.code == text,
            _c.is_active,
            or_(_c.starts_at.is_(None), _c.starts_at <= now),
            or_(_c.ends_at.is_(None), _c.ends_at > now),
            or_(_c.max_uses.is_(None), _c.used < _c.max_uses),
        )
        row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise PromoCodeInvalid
        used = select(_u.id).where(_u.promo_code_id == row.id, _u.user_id == user_id)
        if (await connection.execute(used)).one_or_none() is not None:
            raise PromoCodeUsed
        return _promo_code(row)

    async def purchase(
        self,
        connection: AsyncConnection,
        actor: Actor,
        user_id: UUID,
        code: str,
        *,
        duration_hours: int,
        scope: str,
        name: str | None = None,
    ) -> TokenRecord:
        """Buy one token with a code inside the caller's transaction.

        Raises the errors of :meth:`valid` and of :meth:`Tokens.purchase`.
        """
        full = await self._tokens.price(duration_hours, scope, connection)
        promo = await self.valid(code, user_id, connection)
        price = promo.price(full)
        token = await self._tokens.purchase(
            connection,
            actor,
            user_id,
            duration_hours=duration_hours,
            scope=scope,
            name=name,
            agreed=price,
        )
        await record_use(connection, promo.id, user_id, token, discount=full - price)
        return token

    # --- administrators

    async def create(
        self,
        actor: Actor,
        *,
        code: str | None = None,
        percent: int | None = None,
        amount: Decimal | None = None,
        max_uses: int | None = None,
        starts_at: datetime | None = None,
        ends_at: datetime | None = None,
    ) -> PromoCode:
        """Create a code from validated values; ``code=None`` generates one.

        Raises ``PromoCodeTaken``.
        """
        text = normalized(code) if code else _generated()
        async with self._database.begin() as connection:
            inserted = await connection.execute(
                insert_into(self._database.dialect, promo_codes)
                .values(
                    id=(code_id := uuid4()),
                    code=text,
                    percent=percent,
                    amount=amount,
                    max_uses=max_uses,
                    used=0,
                    starts_at=starts_at,
                    ends_at=ends_at,
                    is_active=True,
                )
                .on_conflict_do_nothing()
            )
            if inserted.rowcount != 1:
                raise PromoCodeTaken
            discount = f"{percent}%" if amount is None else f"{amount:.2f}"
            await record(
                connection,
                actor,
                "promo_code.created",
                "promo_code",
                code_id,
                name=text,
                discount=discount,
                count=max_uses,
            )
            return await _one(connection, code_id)

    async def switch(self, actor: Actor, code_id: UUID, *, is_active: bool) -> PromoCode:
        """Switch a code on or off. Raises ``NotFound``."""
        async with self._database.begin() as connection:
            await connection.execute(
                update(promo_codes).where(_c.id == code_id).values(is_active=is_active)
            )
            found = await _one(connection, code_id)
            await record(
                connection,
                actor,
                "promo_code.changed",
                "promo_code",
                code_id,
                name=found.code,
                is_active=is_active,
            )
            return found

    async def listed(self, *, limit: int, offset: int) -> tuple[list[PromoCode], int]:
        """A page of codes, newest first, and the total count."""
        query = select(promo_codes).order_by(_c.created_at.desc(), _c.id)
        count = select(func.count()).select_from(promo_codes)
        async with self._database.read() as connection:
            total = int((await connection.execute(count)).scalar_one())
            rows = (await connection.execute(query.limit(limit).offset(offset))).all()
        return [_promo_code(row) for row in rows], total


async def record_use(
    connection: AsyncConnection,
    code_id: UUID,
    user_id: UUID,
    token: TokenRecord,
    *,
    discount: Decimal,
) -> None:
    """Count one use of a code, in the transaction that bought ``token`` with it.

    Raises ``PromoCodeInvalid`` if none is left, and ``PromoCodeUsed`` if this user has used it; the
    transaction must then be rolled back.
    """
    is_left = and_(_c.id == code_id, or_(_c.max_uses.is_(None), _c.used < _c.max_uses))
    counted = await connection.execute(update(promo_codes).where(is_left).values(used=_c.used + 1))
    if counted.rowcount != 1:
        raise PromoCodeInvalid
    inserted = await connection.execute(
        insert_into(connection.dialect.name, promo_uses)
        .values(
            id=uuid4(),
            promo_code_id=code_id,
            user_id=user_id,
            token_id=token.id,
            discount=discount,
            paid=token.cost,
        )
        .on_conflict_do_nothing()
    )
    if inserted.rowcount != 1:
        raise PromoCodeUsed
    PROMO_CODE_USES.inc()


async def _one(connection: AsyncConnection, code_id: UUID) -> PromoCode:
    row = (await connection.execute(select(promo_codes).where(_c.id == code_id))).one_or_none()
    if row is None:
        raise NotFound("There is no such promo code.")
    return _promo_code(row)


def _generated() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


PROMO_CODES: web.AppKey[PromoCodes] = web.AppKey("promo_codes", PromoCodes)

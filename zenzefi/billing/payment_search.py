"""Payments of all users for administrators: by user, number, state and time, with totals."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from aiohttp import web
from sqlalchemy import ColumnElement, and_, case, func, literal, or_, select

from zenzefi.billing.models import payments
from zenzefi.billing.repository import Payment, payment_of
from zenzefi.db.base import Money, storable
from zenzefi.db.engine import Database

_p = payments.c
_ZERO = Decimal("0.00")
_BEGINNING_OF_ID = re.compile("[0-9a-f]{4,32}")


@dataclass(frozen=True, slots=True)
class PaymentFilter:
    """Selects payments; ``None`` means any.

    ``number`` is the ID of the payment or its beginning (at least four digits), or an ID of the
    provider: of the checkout or the charge. ``since`` is inclusive, ``until`` exclusive; both are
    compared with the time when the payment was opened.
    """

    user_id: UUID | None = None
    number: str | None = None
    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The filter as SQL conditions."""
        found: list[ColumnElement[bool]] = []
        if self.user_id is not None:
            found.append(_p.user_id == self.user_id)
        if self.number is not None:
            found.append(_has_number(self.number))
        if self.status is not None:
            found.append(_p.status == self.status)
        if self.since is not None:
            found.append(_p.created_at >= self.since)
        if self.until is not None:
            found.append(_p.created_at < self.until)
        return found


def _has_number(text: str) -> ColumnElement[bool]:
    text = storable(text.strip())
    found = or_(_p.reference == text, _p.charge == text)
    digits = text.replace("-", "").lower()
    if _BEGINNING_OF_ID.fullmatch(digits):
        first, last = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
        found = or_(found, and_(_p.id >= first, _p.id <= last))
    return found


@dataclass(frozen=True, slots=True)
class PaymentTotal:
    """All payments of one currency that match a filter."""

    currency: str
    payments: int
    arrived: int
    """Number of those that were credited."""
    received: Decimal
    """Money of those that were credited, in :attr:`currency`."""
    credited: Decimal
    """The same in ZNC."""
    returned: Decimal
    """The part that was refunded or disputed, in ZNC."""


class PaymentSearch:
    """The service that finds payments."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, wanted: PaymentFilter, *, limit: int, offset: int
    ) -> tuple[list[Payment], list[PaymentTotal]]:
        """A page of payments, newest first, and the totals of all that match, by currency."""
        where = wanted.conditions()
        query = select(payments).where(*where).order_by(_p.created_at.desc(), _p.id)
        has_arrived = _p.credited_at.is_not(None)

        def summed(column: ColumnElement[Decimal]) -> ColumnElement[Decimal]:
            counted = case((has_arrived, column), else_=literal(_ZERO, Money))
            return func.sum(counted, type_=Money)

        totals = (
            select(
                _p.currency,
                func.count(),
                func.count(_p.credited_at),
                summed(_p.amount_rub),
                summed(_p.amount_znc),
                summed(_p.reversed_znc),
            )
            .where(*where)
            .group_by(_p.currency)
            .order_by(_p.currency)
        )
        async with self._database.read() as connection:
            found = [PaymentTotal(*row) for row in await connection.execute(totals)]
            rows = await connection.execute(query.limit(limit).offset(offset))
            return [payment_of(row) for row in rows], found


PAYMENT_SEARCH: web.AppKey[PaymentSearch] = web.AppKey("payment_search", PaymentSearch)
"""The application's :class:`PaymentSearch`."""

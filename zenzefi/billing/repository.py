"""Payments in the database: reading, locking and changing a row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, select, update

from zenzefi.accounts.models import users
from zenzefi.billing.models import payments
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import utcnow
from zenzefi.errors import NotFound

_p = payments.c


class PaymentStatus(StrEnum):
    """The status of a payment. Money that arrives is credited once, in every status."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"
    DISPUTED = "disputed"


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment; the fields are the columns of ``payments``."""

    id: UUID
    user_id: UUID
    provider: str
    amount_znc: Decimal
    amount_rub: Decimal
    """The price in :attr:`currency`."""
    currency: str
    status: str
    reference: str | None
    charge: str | None
    payment_url: str | None
    return_url: str | None
    reversed_znc: Decimal
    shortfall_znc: Decimal
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    credited_at: datetime | None


def payment_of(row: Row[Any]) -> Payment:
    """The payment of a complete row."""
    return Payment(**{name: row._mapping[name] for name in Payment.__dataclass_fields__})


async def one(connection: AsyncConnection, where: ColumnElement[bool]) -> Payment:
    """The payment that matches. Raises ``NotFound``."""
    row = (await connection.execute(select(payments).where(where))).one_or_none()
    if row is None:
        raise NotFound("There is no such payment.")
    return payment_of(row)


async def lock(
    connection: AsyncConnection, payment_id: UUID, user_id: UUID
) -> tuple[Payment, Decimal]:
    """Lock a payment and its owner's row until the transaction ends; returns payment and balance.

    The user's row is always locked first. All transactions that move money lock in this order, so
    that they can't deadlock. (SQLite has a single writer.)
    """
    balance: Decimal = (
        await connection.execute(
            select(users.c.currency_balance)
            .where(users.c.id == user_id)
            .with_for_update(key_share=True)
        )
    ).scalar_one()
    row = (
        await connection.execute(select(payments).where(_p.id == payment_id).with_for_update())
    ).one()
    return payment_of(row), balance


async def change(connection: AsyncConnection, payment_id: UUID, **values: Any) -> None:
    """Set columns of a payment, and ``updated_at``."""
    await connection.execute(
        update(payments).where(_p.id == payment_id).values(**values, updated_at=utcnow())
    )

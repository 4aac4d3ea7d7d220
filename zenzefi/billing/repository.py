"""Payments as the database keeps them: reading one, and holding one while it changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from zenzefi.accounts.models import users
from zenzefi.billing.models import payments
from zenzefi.db.base import utcnow
from zenzefi.errors import NotFound

_p = payments.c


class PaymentStatus(StrEnum):
    """How a payment stands. Whatever the status: money that comes is credited, once."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"
    DISPUTED = "disputed"


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment as its owner and administrators see it."""

    id: UUID
    user_id: UUID
    provider: str
    amount_znc: Decimal
    amount_rub: Decimal
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
    """The payment in a whole row."""
    return Payment(**{name: row._mapping[name] for name in Payment.__dataclass_fields__})


async def one(connection: AsyncConnection, where: ColumnElement[bool]) -> Payment:
    """The payment there. Raises ``NotFound``."""
    row = (await connection.execute(select(payments).where(where))).one_or_none()
    if row is None:
        raise NotFound("There is no such payment.")
    return payment_of(row)


async def hold(
    connection: AsyncConnection, payment_id: UUID, user_id: UUID
) -> tuple[Payment, Decimal]:
    """The payment and its owner's balance, both held until the end of the transaction.

    The account first, always: whatever moves money takes its locks in this order, so that no two
    wait for each other. (SQLite has one writer anyway.)
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
    """Set columns of a payment."""
    await connection.execute(
        update(payments).where(_p.id == payment_id).values(**values, updated_at=utcnow())
    )

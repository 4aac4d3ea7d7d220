"""The ledger: the only way in which a balance changes.

Each movement is one conditional UPDATE of the balance and one appended row in the same transaction.
The UPDATE also hands out the row's number, so that a user's rows are numbered without gaps and each
``balance_after`` is the one before plus the amount: ``proof`` checks the chain row by row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from zenzefi.accounts.models import users
from zenzefi.billing.errors import InsufficientBalance
from zenzefi.billing.models import payments, transactions
from zenzefi.db.base import utcnow
from zenzefi.errors import NotFound

ZERO = Decimal("0.00")
CURRENCY = "ZNC"
_p = payments.c


class Kind(StrEnum):
    """Why money moved."""

    DEPOSIT = "deposit"
    PURCHASE = "purchase"
    REFUND = "refund"
    BONUS = "bonus"
    ADJUSTMENT = "adjustment"


@dataclass(frozen=True, slots=True)
class Movement:
    """One row just written."""

    id: UUID
    balance: Decimal


async def move(
    connection: AsyncConnection,
    user_id: UUID,
    amount: Decimal,
    kind: Kind,
    description: str,
    **links: UUID | None,
) -> Movement:
    """Change a balance by ``amount`` (signed, not zero) and append the row.

    ``links`` are ``token_id``, ``bundle_purchase_id``, ``payment_id``, ``actor_id``. Call it inside
    a transaction, after the rows that it links to. What comes in first repays payments that were
    taken back after they had been spent; ``Movement.balance`` is what is left then. Raises
    ``InsufficientBalance`` (which says what is missing) and ``NotFound`` for an unknown user; the
    transaction must then be rolled back.
    """
    movement = await _append(connection, user_id, amount, kind, description, links)
    if amount < 0:
        return movement
    return Movement(movement.id, await _repay(connection, user_id, movement.balance))


async def _append(
    connection: AsyncConnection,
    user_id: UUID,
    amount: Decimal,
    kind: Kind,
    description: str,
    links: Mapping[str, UUID | None],
) -> Movement:
    row = (
        await connection.execute(
            update(users)
            .where(users.c.id == user_id, users.c.currency_balance + amount >= ZERO)
            .values(
                currency_balance=users.c.currency_balance + amount,
                ledger_seq=users.c.ledger_seq + 1,
            )
            .returning(users.c.currency_balance, users.c.ledger_seq)
        )
    ).one_or_none()
    if row is None:
        have = await balance(connection, user_id)
        raise InsufficientBalance(
            f"Insufficient balance: this costs {-amount:.2f} {CURRENCY} and you have {have:.2f}. "
            f"Top up {-amount - have:.2f} {CURRENCY} and try again.",
            missing=f"{-amount - have:.2f}",
        )
    movement_id = uuid4()
    values: dict[str, Any] = {
        "id": movement_id,
        "user_id": user_id,
        "seq": row.ledger_seq,
        "amount": amount,
        "balance_after": row.currency_balance,
        "transaction_type": kind.value,
        "description": description,
        **links,
    }
    await connection.execute(transactions.insert().values(values))
    return Movement(movement_id, row.currency_balance)


async def _repay(connection: AsyncConnection, user_id: UUID, left: Decimal) -> Decimal:
    """Take from a grown balance what reversed payments left owed, oldest first; what is left."""
    owed = (
        select(_p.id, _p.shortfall_znc)
        .where(_p.user_id == user_id, _p.shortfall_znc > ZERO)
        .order_by(_p.created_at, _p.id)
        .with_for_update()
    )
    for payment in (await connection.execute(owed)).all():
        part = min(left, payment.shortfall_znc)
        if part <= 0:
            break
        await connection.execute(
            update(payments)
            .where(_p.id == payment.id)
            .values(shortfall_znc=_p.shortfall_znc - part, updated_at=utcnow())
        )
        about = "Repays a payment that was taken back"
        links = {"payment_id": payment.id}
        left = (await _append(connection, user_id, -part, Kind.ADJUSTMENT, about, links)).balance
    return left


async def balance(connection: AsyncConnection, user_id: UUID) -> Decimal:
    """The balance now. Raises ``NotFound`` for an unknown user."""
    found: Decimal | None = (
        await connection.execute(select(users.c.currency_balance).where(users.c.id == user_id))
    ).scalar_one_or_none()
    if found is None:
        raise NotFound
    return found

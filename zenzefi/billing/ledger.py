"""The ledger: the only code that changes a balance.

Theory of operation
===================

``users.currency_balance`` holds the balance, ``users.ledger_seq`` the number of ledger rows of the
user. Each movement is two statements in the caller's transaction::

    UPDATE users SET currency_balance = currency_balance + :amount, ledger_seq = ledger_seq + 1
     WHERE id = :user AND currency_balance + :amount >= 0 RETURNING currency_balance, ledger_seq
    INSERT INTO transactions (user_id, seq, amount, balance_after, ...)

The UPDATE locks the user's row until the transaction ends, so concurrent movements of one account
run one after the other, on every node. Its condition is evaluated after the lock was obtained: a
balance is never read first and written later. If it matches no row, the user is unknown or the
balance is too low, and nothing was written.

A deposit first repays debts. A payment that was reversed after its money was spent keeps the
difference in ``payments.shortfall_znc``; the next incoming amounts are debited for it, oldest
payment first, as separate ``adjustment`` rows.

Guaranteed
----------
- A balance is never negative (the condition, and a CHECK constraint).
- The rows of a user are numbered 1, 2, 3 ... without gaps, and each ``balance_after`` is the
  previous one plus ``amount``. The balance is therefore the sum of the rows.
- Rows are never changed or deleted: triggers on both databases reject it.
- Balance and row are written together or not at all. Callers of :func:`move` write
  token, bundle or payment in the same transaction.
- Locks are taken in one order, account before payment (``repository.lock``), so that two
  transactions that move money can't deadlock.

``maintenance/reconciliation.py`` verifies this row by row on a running system.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select, update

from zenzefi.accounts.models import users
from zenzefi.billing.errors import InsufficientBalance
from zenzefi.billing.models import payments, transactions
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import utcnow
from zenzefi.errors import NotFound

ZERO = Decimal("0.00")
CURRENCY = "ZNC"
_p = payments.c


class Kind(StrEnum):
    """The reason of a movement."""

    DEPOSIT = "deposit"
    PURCHASE = "purchase"
    REFUND = "refund"
    BONUS = "bonus"
    ADJUSTMENT = "adjustment"


@dataclass(frozen=True, slots=True)
class Movement:
    """A ledger row that was written, and the balance afterwards."""

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
    """Change a balance by ``amount`` (ZNC, signed, not zero) and append the row.

    ``links`` are ``token_id``, ``bundle_purchase_id``, ``payment_id``, ``actor_id``; the rows they
    refer to must exist. Call it inside a transaction. A positive amount first repays reversals;
    ``Movement.balance`` is the balance after that. Raises ``InsufficientBalance`` with the missing
    amount, and ``NotFound`` for an unknown user; the transaction must then be rolled back.
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
    """Debit the debts of reversed payments, oldest first. Returns the remaining balance."""
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
        about = "Repays a reversed payment"
        links = {"payment_id": payment.id}
        left = (await _append(connection, user_id, -part, Kind.ADJUSTMENT, about, links)).balance
    return left


async def balance(connection: AsyncConnection, user_id: UUID) -> Decimal:
    """The current balance in ZNC. Raises ``NotFound`` for an unknown user."""
    found: Decimal | None = (
        await connection.execute(select(users.c.currency_balance).where(users.c.id == user_id))
    ).scalar_one_or_none()
    if found is None:
        raise NotFound
    return found

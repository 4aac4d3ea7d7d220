"""The proof of the books: asked of the database, told by nobody who also writes them.

For every account, in one statement and so at one moment: the balance is the sum of the ledger; its
rows are numbered without gaps and each step adds up; what was spent and refunded is what tokens and
bundles say; what each payment brought is what the ledger shows of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Row, Select, case, func, select, type_coerce

from zenzefi.accounts.models import users
from zenzefi.billing.ledger import Kind
from zenzefi.billing.models import payments, transactions
from zenzefi.db import migrate
from zenzefi.db.engine import Database
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.runtime import checks
from zenzefi.tokens.models import access_tokens

_BATCH = 500  # accounts in one statement: short on any database, and nobody waits for it
_TOLD = 100


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one account."""

    user_id: UUID
    what: str


@dataclass(frozen=True, slots=True)
class Proof:
    """What was looked at, and the accounts whose books are wrong (a hundred are told at most)."""

    accounts: int
    rows: int
    wrong: int
    faults: list[Fault]


async def prove(database: Database) -> Proof:
    """Go through all accounts. Raises ``DatabaseUnavailable``."""
    accounts = rows = wrong = 0
    faults: list[Fault] = []
    after: UUID | None = None
    while True:
        async with database.read() as connection:
            batch = (await connection.execute(_statement(after))).all()
        for row in batch:
            found = _faults(row)
            accounts += 1
            rows += row.rows
            wrong += bool(found)
            faults += [Fault(row.id, what) for what in found]
        if len(batch) < _BATCH:
            return Proof(accounts, rows, wrong, faults[:_TOLD])
        after = batch[-1].id


def _faults(row: Row[Any]) -> list[str]:
    checks = {
        "the balance is not the sum of the ledger": row.balance == row.total,
        "a row of the ledger is missing, or one too many": row.last == row.rows,
        "a step of the ledger does not add up": row.breaks == 0,
        "what the ledger shows as spent is not what tokens cost": row.spent == row.cost,
        "what the ledger shows as refunded is not what tokens gave back": row.returned
        == row.refunded,
        "what the ledger shows of payments is not what they brought": row.of_payments
        == row.brought,
    }
    return [what for what, holds in checks.items() if not holds]


def _statement(after: UUID | None) -> Select[Any]:
    u, x, t, p = users.c, transactions.c, access_tokens.c, payments.c

    def cents(column: Any) -> Any:
        return type_coerce(column, BigInteger)

    def total(column: Any, label: str) -> Any:
        return type_coerce(func.sum(column), BigInteger).label(label)

    query = select(u.id, cents(u.currency_balance).label("balance"), u.ledger_seq.label("last"))
    if after is not None:
        query = query.where(u.id > after)
    accounts = query.order_by(u.id).limit(_BATCH).cte("accounts")

    by_number: dict[str, Any] = {"partition_by": x.user_id, "order_by": x.seq}
    amount = cents(x.amount).label("amount")
    steps = (
        select(
            *(x.user_id, x.seq, amount, x.transaction_type, x.payment_id),
            cents(x.balance_after).label("after"),
            func.lag(cents(x.balance_after), 1, 0).over(**by_number).label("before"),
            func.lag(x.seq, 1, 0).over(**by_number).label("number_before"),
        )
        .join(accounts, accounts.c.id == x.user_id)
        .cte("steps")
    )
    s = steps.c
    is_step = (s.after == s.before + s.amount) & (s.seq == s.number_before + 1)

    def of_kind(kind: Kind, label: str, sign: int = 1) -> Any:
        return total(case((s.transaction_type == kind.value, sign * s.amount), else_=0), label)

    books = (
        select(
            s.user_id,
            func.count().label("rows"),
            total(s.amount, "total"),
            total(case((is_step, 0), else_=1), "breaks"),
            of_kind(Kind.PURCHASE, "spent", -1),
            of_kind(Kind.REFUND, "returned"),
            total(case((s.payment_id.is_not(None), s.amount), else_=0), "of_payments"),
        )
        .group_by(s.user_id)
        .cte("books")
    )
    sold = (
        select(t.user_id, total(cents(t.cost), "cost"), total(cents(t.refunded), "refunded"))
        .join(accounts, accounts.c.id == t.user_id)
        .group_by(t.user_id)
        .cte("sold")
    )
    kept = cents(p.amount_znc) - cents(p.reversed_znc) + cents(p.shortfall_znc)
    paid = (
        select(p.user_id, total(case((p.credited_at.is_not(None), kept), else_=0), "brought"))
        .join(accounts, accounts.c.id == p.user_id)
        .group_by(p.user_id)
        .cte("paid")
    )
    figures = [*books.c, *sold.c, *paid.c]
    return (
        select(
            accounts,
            *(func.coalesce(c, 0).label(c.name) for c in figures if c.name != "user_id"),
        )
        .join(books, books.c.user_id == accounts.c.id, isouter=True)
        .join(sold, sold.c.user_id == accounts.c.id, isouter=True)
        .join(paid, paid.c.user_id == accounts.c.id, isouter=True)
        .order_by(accounts.c.id)
    )


async def check_ledger(database: Database) -> checks.Check | None:
    """Whether the books are in order; ``None`` where there are none of this program's yet."""
    name = "ledger"
    try:
        if await migrate.current(database) != migrate.head():
            return None
        proof = await prove(database)
    except DatabaseUnavailable as error:
        return checks.Check(name, ok=False, detail=f"can't be read{checks.reason(error)}")
    if proof.wrong:
        told = "; ".join(f"{fault.user_id}: {fault.what}" for fault in proof.faults[:5])
        return checks.Check(name, ok=False, detail=f"wrong accounts: {proof.wrong}; {told}")
    seen = f"every balance is the sum of its rows (accounts: {proof.accounts}, rows: {proof.rows})"
    return checks.Check(name, ok=True, detail=seen)

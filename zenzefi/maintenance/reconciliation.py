"""Reconciliation: verifies balances against ledger, tokens and payments.

It shares no code with the modules that write these rows. One statement reads all rows of an
account, so that it sees one consistent state while money moves. Verified for each account:

- The balance is the sum of the ledger.
- The ledger rows are numbered without gaps, and each ``balance_after`` is the one before it plus
  the amount.
- Purchases and refunds in the ledger match the cost and the refunds of the tokens.
- The payments' amounts in the ledger match the credited payments, less reversals, plus debts.
- A completed order has one purchase of the same user at the agreed price, and its payment was
  credited. No order waits for a payment that was credited.
- A renewal that took place has one token of the same user, bought after the renewed one had ended,
  at the price and within the ceiling of the renewal.
- A token that was bought with a promo code belongs to the user of the code and cost what the use
  says, and the uses of the code are as many as it counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, BigInteger, Row, Select, and_, case, func, or_, select, type_coerce

from zenzefi.accounts.models import users
from zenzefi.billing.ledger import Kind
from zenzefi.billing.models import (
    bundle_purchases,
    orders,
    payments,
    promo_codes,
    promo_uses,
    transactions,
)
from zenzefi.db import migrate
from zenzefi.db.base import hours_after
from zenzefi.db.engine import Database
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.runtime import checks
from zenzefi.tokens.models import access_tokens, renewals

_BATCH = 500  # accounts in one statement, which keeps each statement short
_MAX_REPORTED = 100


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A check that failed for one account."""

    user_id: UUID
    text: str

    def __str__(self) -> str:
        return f"{self.user_id}: {self.text}"


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The result of a reconciliation."""

    accounts: int
    rows: int
    """Number of ledger rows."""
    wrong: int
    """Number of accounts with discrepancies."""
    discrepancies: list[Discrepancy]
    """The first 100 discrepancies."""


async def reconcile(database: Database) -> Reconciliation:
    """Verify all accounts. Raises ``DatabaseUnavailable``."""
    accounts = rows = wrong = 0
    discrepancies: list[Discrepancy] = []
    after: UUID | None = None
    while True:
        async with database.read() as connection:
            batch = (await connection.execute(_statement(after))).all()
        for row in batch:
            failed = _failed_checks(row)
            accounts += 1
            rows += row.rows
            wrong += bool(failed)
            discrepancies += [Discrepancy(row.id, text) for text in failed]
        if len(batch) < _BATCH:
            return Reconciliation(accounts, rows, wrong, discrepancies[:_MAX_REPORTED])
        after = batch[-1].id


def _failed_checks(row: Row[Any]) -> list[str]:
    conditions = {
        "the balance is not the sum of the ledger": row.balance == row.total,
        "a ledger row is missing or superfluous": row.last == row.rows,
        "a ledger row does not match the balance before it": row.breaks == 0,
        "the purchases in the ledger are not the cost of the tokens": row.spent == row.cost,
        "the refunds in the ledger are not those of the tokens": row.returned == row.refunded,
        "the payments in the ledger are not the credited payments": row.from_payments
        == row.credited,
        "an order does not match its payment and its purchase": row.wrong_orders == 0,
        "a renewal does not match its tokens": row.wrong_renewals == 0,
        "a use of a promo code does not match its token": row.wrong_uses == 0,
    }
    return [text for text, is_met in conditions.items() if not is_met]


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

    by_seq: dict[str, Any] = {"partition_by": x.user_id, "order_by": x.seq}
    amount = cents(x.amount).label("amount")
    steps = (
        select(
            *(x.user_id, x.seq, amount, x.transaction_type, x.payment_id),
            cents(x.balance_after).label("after"),
            func.lag(cents(x.balance_after), 1, 0).over(**by_seq).label("before"),
            func.lag(x.seq, 1, 0).over(**by_seq).label("seq_before"),
        )
        .join(accounts, accounts.c.id == x.user_id)
        .cte("steps")
    )
    s = steps.c
    is_step = (s.after == s.before + s.amount) & (s.seq == s.seq_before + 1)

    def of_kind(kind: Kind, label: str, sign: int = 1) -> Any:
        return total(case((s.transaction_type == kind.value, sign * s.amount), else_=0), label)

    ledger = (
        select(
            s.user_id,
            func.count().label("rows"),
            total(s.amount, "total"),
            total(case((is_step, 0), else_=1), "breaks"),
            of_kind(Kind.PURCHASE, "spent", -1),
            of_kind(Kind.REFUND, "returned"),
            total(case((s.payment_id.is_not(None), s.amount), else_=0), "from_payments"),
        )
        .group_by(s.user_id)
        .cte("ledger")
    )
    sold = (
        select(t.user_id, total(cents(t.cost), "cost"), total(cents(t.refunded), "refunded"))
        .join(accounts, accounts.c.id == t.user_id)
        .group_by(t.user_id)
        .cte("sold")
    )
    net = cents(p.amount_znc) - cents(p.reversed_znc) + cents(p.shortfall_znc)
    paid = (
        select(p.user_id, total(case((p.credited_at.is_not(None), net), else_=0), "credited"))
        .join(accounts, accounts.c.id == p.user_id)
        .group_by(p.user_id)
        .cte("paid")
    )
    ordered, renewed, used = _orders(accounts), _renewals(accounts), _promo_uses(accounts)
    columns = [*ledger.c, *sold.c, *paid.c, *ordered.c, *renewed.c, *used.c]
    return (
        select(
            accounts,
            *(func.coalesce(c, 0).label(c.name) for c in columns if c.name != "user_id"),
        )
        .join(ledger, ledger.c.user_id == accounts.c.id, isouter=True)
        .join(sold, sold.c.user_id == accounts.c.id, isouter=True)
        .join(paid, paid.c.user_id == accounts.c.id, isouter=True)
        .join(ordered, ordered.c.user_id == accounts.c.id, isouter=True)
        .join(renewed, renewed.c.user_id == accounts.c.id, isouter=True)
        .join(used, used.c.user_id == accounts.c.id, isouter=True)
        .order_by(accounts.c.id)
    )


def _orders(accounts: CTE) -> CTE:
    """The number of wrong orders of each account."""
    o, p, t, b = orders.c, payments.c, access_tokens.c, bundle_purchases.c
    is_purchased = and_(
        func.coalesce(t.user_id, b.user_id) == o.user_id,
        type_coerce(func.coalesce(t.cost, b.price_paid), BigInteger)
        == type_coerce(o.price, BigInteger),
        p.user_id == o.user_id,
        p.credited_at.is_not(None),
        or_(o.token_id.is_(None), o.bundle_purchase_id.is_(None)),
    )
    is_right = case(
        (o.status == "completed", case((is_purchased, 1), else_=0)),
        (and_(o.status == "waiting", p.credited_at.is_not(None)), 0),
        else_=1,
    )
    return (
        select(o.user_id, func.sum(1 - is_right).label("wrong_orders"))
        .join(accounts, accounts.c.id == o.user_id)
        .join(payments, p.id == o.payment_id)
        .join(access_tokens, t.id == o.token_id, isouter=True)
        .join(bundle_purchases, b.id == o.bundle_purchase_id, isouter=True)
        .group_by(o.user_id)
        .cte("ordered")
    )


def _renewals(accounts: CTE) -> CTE:
    """The number of wrong renewals of each account."""
    before, after = access_tokens.alias("before"), access_tokens.alias("after")
    r, ended, bought = renewals.c, before.c, after.c
    is_right = and_(
        ended.user_id == r.user_id,
        bought.user_id == r.user_id,
        bought.duration_hours == ended.duration_hours,
        bought.scope == ended.scope,
        bought.created_at >= hours_after(ended.activated_at, ended.duration_hours),
        type_coerce(bought.cost, BigInteger) == type_coerce(r.price, BigInteger),
        type_coerce(r.price, BigInteger) <= type_coerce(r.ceiling, BigInteger),
    )
    return (
        select(r.user_id, func.sum(case((is_right, 0), else_=1)).label("wrong_renewals"))
        .join(accounts, accounts.c.id == r.user_id)
        .join(before, ended.id == r.token_id)
        .join(after, bought.id == r.next_token_id)
        .where(r.status == "renewed")
        .group_by(r.user_id)
        .cte("renewed")
    )


def _promo_uses(accounts: CTE) -> CTE:
    """The number of wrong uses of promo codes of each account."""
    use, code, t, every = promo_uses.c, promo_codes.c, access_tokens.c, promo_uses.alias("every")
    uses = select(func.count()).where(every.c.promo_code_id == use.promo_code_id)
    is_right = and_(
        t.user_id == use.user_id,
        type_coerce(t.cost, BigInteger) == type_coerce(use.paid, BigInteger),
        code.used == uses.correlate(promo_uses).scalar_subquery(),
    )
    return (
        select(use.user_id, func.sum(case((is_right, 0), else_=1)).label("wrong_uses"))
        .join(accounts, accounts.c.id == use.user_id)
        .join(access_tokens, t.id == use.token_id)
        .join(promo_codes, code.id == use.promo_code_id)
        .group_by(use.user_id)
        .cte("used")
    )


async def check_ledger(database: Database) -> checks.Check | None:
    """Reconciliation as one check of ``zenzefi check``; ``None`` if the schema is not current."""
    name = "ledger"
    try:
        if await migrate.current(database) != migrate.head():
            return None
        result = await reconcile(database)
    except DatabaseUnavailable as error:
        return checks.Check(name, ok=False, detail=f"can't be read{checks.reason(error)}")
    if result.wrong:
        shown = "; ".join(str(one) for one in result.discrepancies[:5])
        detail = f"accounts with discrepancies: {result.wrong}; {shown}"
        return checks.Check(name, ok=False, detail=detail)
    counts = f"accounts: {result.accounts}, rows: {result.rows}"
    return checks.Check(name, ok=True, detail=f"every balance is the sum of its rows ({counts})")

"""The queries of reports (:mod:`zenzefi.admin.reports`), each grouped by period.

The database finds the period of a row with a binary search over the boundaries between the periods
(:func:`_period_at`), because SQLite has no time zones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    Subquery,
    case,
    func,
    literal,
    select,
    union,
    union_all,
)

from zenzefi.accounts.models import users
from zenzefi.billing.models import bundle_purchases, bundles, payments, transactions
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import Money, UtcDateTime
from zenzefi.tokens.models import access_tokens, usage_sessions

_ZERO = Decimal("0.00")
_u, _t, _x, _p = users.c, access_tokens.c, transactions.c, payments.c


@dataclass(frozen=True, slots=True)
class ReportWindow:
    """The range of a report as moments: its ends, and the boundaries between its periods."""

    begin: datetime
    end: datetime
    inner: list[datetime]

    def holds(self, moment: Column[Any]) -> ColumnElement[bool]:
        """Whether a moment is in the range."""
        return (moment >= self.begin) & (moment < self.end)

    def period(self, moment: Column[Any]) -> ColumnElement[int]:
        """Index of the period of a moment; the first or last one for a moment outside."""
        return _period_at(moment, self.inner, 0)

    def rows(self, moment: Column[Any], *columns: Any) -> Select[Any]:
        """The rows of the window with their period, to be grouped by it."""
        return select(self.period(moment).label("period"), *columns).where(self.holds(moment))


def _period_at(
    moment: Column[Any], boundaries: Sequence[datetime], index: int
) -> ColumnElement[int]:
    if not boundaries:
        return literal(index)
    middle = len(boundaries) // 2
    before = _period_at(moment, boundaries[:middle], index)
    after = _period_at(moment, boundaries[middle + 1 :], index + middle + 1)
    return case((moment < literal(boundaries[middle], UtcDateTime()), before), else_=after)


def _by_period(rows: Subquery, *columns: Any) -> Select[Any]:
    return select(rows.c.period, *columns).group_by(rows.c.period)


def _sum(column: ColumnElement[Any]) -> ColumnElement[Decimal]:
    return func.coalesce(func.sum(column, type_=Money), literal(_ZERO, Money), type_=Money)


def _number_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)


def users_query(window: ReportWindow) -> Select[Any]:
    """New users and those of them who have bought something, by period."""
    bought = select(_x.id).where(_x.user_id == _u.id, _x.transaction_type == "purchase")
    rows = window.rows(_u.created_at, _number_if(bought.exists()).label("bought")).subquery()
    return _by_period(
        rows, func.count().label("registered"), func.sum(rows.c.bought).label("buyers")
    )


def sales_query(window: ReportWindow) -> Select[Any]:
    """Tokens sold, by period."""
    rows = window.rows(_t.created_at).where(_t.cost > _ZERO).subquery()
    return _by_period(rows, func.count().label("tokens"))


def ledger_query(window: ReportWindow) -> Select[Any]:
    """Purchases and refunds of tokens, by period; refunds of payments count there."""
    is_purchase = _x.transaction_type == "purchase"
    is_refund = (_x.transaction_type == "refund") & _x.payment_id.is_(None)
    rows = (
        window.rows(
            _x.created_at,
            case((is_purchase, -_x.amount), else_=literal(_ZERO, Money)).label("spent"),
            case((is_refund, _x.amount), else_=literal(_ZERO, Money)).label("refunded"),
        )
        .where(is_purchase | is_refund)
        .subquery()
    )
    return _by_period(
        rows, _sum(rows.c.spent).label("spent"), _sum(rows.c.refunded).label("refunded")
    )


def payments_query(window: ReportWindow) -> Select[Any]:
    """Payments that arrived, by period and currency."""
    rows = window.rows(
        *(_p.credited_at, _p.currency, _p.amount_rub, _p.amount_znc, _p.reversed_znc)
    ).subquery()
    found = _by_period(
        rows,
        rows.c.currency,
        func.count().label("payments"),
        _sum(rows.c.amount_rub).label("received"),
        _sum(rows.c.amount_znc).label("credited"),
        _sum(rows.c.reversed_znc).label("returned"),
    )
    return found.group_by(rows.c.currency)


def _sessions(window: ReportWindow) -> Select[Any]:
    """The users of all sessions of the window, with the first and last period of each session."""
    s = usage_sessions.c
    return select(
        s.user_id,
        window.period(s.started_at).label("first"),
        window.period(s.last_seen_at).label("last"),
    ).where(s.last_seen_at >= window.begin, s.started_at < window.end)


def active_users_query(window: ReportWindow) -> Select[Any]:
    """Active users by period: of a session in its first and its last one, and those between."""
    sessions = _sessions(window).cte("sessions")
    long = select(sessions).where(sessions.c.last > sessions.c.first + 1).cte("long")
    numbers = union_all(
        *(select(literal(n).label("n")) for n in range(len(window.inner) + 1))
    ).subquery()
    seen = union(
        select(sessions.c.first.label("period"), sessions.c.user_id),
        select(sessions.c.last, sessions.c.user_id),
        select(numbers.c.n, long.c.user_id).join_from(
            long, numbers, (numbers.c.n > long.c.first) & (numbers.c.n < long.c.last)
        ),
    ).subquery()
    return _by_period(seen, func.count().label("number"))


async def all_active_users(connection: AsyncConnection, window: ReportWindow) -> int:
    """Number of users with a session in the range."""
    sessions = _sessions(window).subquery()
    query = select(func.count(sessions.c.user_id.distinct()))
    return int((await connection.execute(query)).scalar_one())


def offers_query(window: ReportWindow) -> Any:
    """Single tokens by duration and scope, free ones apart, then bundles; best-selling first."""
    b, bought = bundles.c, bundle_purchases.c
    single = (
        select(
            literal(None, bundles.c.name.type).label("bundle"),
            *(_t.duration_hours, _t.scope),
            func.count().label("sales"),
            func.count().label("tokens"),
            _sum(_t.cost).label("spent"),
            _sum(_t.refunded).label("refunded"),
        )
        .where(window.holds(_t.created_at), _t.bundle_purchase_id.is_(None))
        .group_by(_t.duration_hours, _t.scope, _t.cost == literal(_ZERO, Money))
    )
    returned = (
        select(_t.bundle_purchase_id, _sum(_t.refunded).label("refunded"))
        .where(_t.bundle_purchase_id.is_not(None))
        .group_by(_t.bundle_purchase_id)
        .subquery()
    )
    bundled = (
        select(
            b.name.label("bundle"),
            *(b.duration_hours, b.scope),
            func.count().label("sales"),
            func.sum(bought.token_count).label("tokens"),
            _sum(bought.price_paid).label("spent"),
            _sum(returned.c.refunded).label("refunded"),
        )
        .join_from(bundle_purchases, bundles, b.id == bought.bundle_id)
        .join(returned, returned.c.bundle_purchase_id == bought.id)
        .where(window.holds(bought.created_at))
        .group_by(b.id, b.name, b.duration_hours, b.scope)
    )
    found = union_all(single, bundled).subquery()
    return select(found).order_by(found.c.spent.desc(), found.c.sales.desc(), found.c.scope)

"""Reports for operators: sales, money, users and refunds of a range of days, by period.

A range is cut into periods (:func:`periods_of`), whose boundaries are midnights of one time zone.
The database finds the period of a row with a binary search over the boundaries
(:func:`_period_at`), because SQLite has no time zones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum
from typing import Any

from aiohttp import web
from sqlalchemy import (
    Column,
    ColumnElement,
    Row,
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
from zenzefi.db.engine import Database
from zenzefi.printable import csv_record
from zenzefi.tokens.models import access_tokens, usage_sessions

MAX_PERIODS = 120
"""Maximum number of periods of one report."""

_ZERO = Decimal("0.00")
_t, _x, _p = access_tokens.c, transactions.c, payments.c
_FIGURES = (
    *("registered", "buyers", "active_users", "tokens", "spent", "refunded"),
    *("payments", "credited", "returned"),
)
_OFFER_FIGURES = ("bundle", "duration_hours", "scope", "sales", "tokens", "spent", "refunded")


class PeriodLength(StrEnum):
    """The length of the periods of a report: calendar days, weeks from Monday, or months."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class ReportRange:
    """The days of a report (both inclusive), the length of its periods, and its time zone."""

    since: date
    until: date
    length: PeriodLength
    zone: tzinfo

    def moment(self, day: date) -> datetime:
        """The beginning of a day."""
        return datetime.combine(day, time(), self.zone)

    @property
    def first_days(self) -> list[date]:
        """The first day of each period. The first and the last period may be incomplete."""
        found, day = [], self.since
        while day <= self.until:
            found.append(day)
            match self.length:
                case PeriodLength.DAY:
                    day += timedelta(days=1)
                case PeriodLength.WEEK:
                    day += timedelta(days=7 - day.weekday())
                case PeriodLength.MONTH:
                    day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        return found

    @property
    def error(self) -> str | None:
        """The reason why there is no such report, or ``None``."""
        if self.until < self.since:
            return "must not be before since"
        shortest = {PeriodLength.DAY: 1, PeriodLength.WEEK: 7, PeriodLength.MONTH: 28}
        if (self.until - self.since).days // shortest[self.length] >= MAX_PERIODS - 1:
            return f"must give at most {MAX_PERIODS} periods; choose longer ones"
        return None


@dataclass(slots=True)
class PeriodFigures:
    """The figures of one period, or of the whole range. Amounts are in ZNC."""

    first: date
    last: date
    registered: int = 0
    buyers: int = 0
    """Those of the registered users who have bought something since."""
    active_users: int = 0
    """Users with a session in this period."""
    tokens: int = 0
    """Tokens sold, those of bundles included, free ones not."""
    spent: Decimal = _ZERO
    refunded: Decimal = _ZERO
    """Returned to balances for revoked tokens."""
    payments: int = 0
    credited: Decimal = _ZERO
    returned: Decimal = _ZERO
    """The part of the payments of this period that was refunded or disputed since."""
    received: dict[str, Decimal] = field(default_factory=dict)
    """Money of the payments by currency (ISO 4217), before refunds."""

    @property
    def revenue(self) -> Decimal:
        """``spent`` without ``refunded``."""
        return self.spent - self.refunded

    @property
    def conversion(self) -> float | None:
        """The share of the registered users who have bought something; ``None`` without users."""
        return self.buyers / self.registered if self.registered else None


@dataclass(frozen=True, slots=True)
class OfferSales:
    """The sales of one offer in the range: a duration with a scope, or a bundle."""

    bundle: str | None
    """The bundle's name, or ``None`` for single tokens."""
    duration_hours: int
    scope: str
    sales: int
    tokens: int
    spent: Decimal
    refunded: Decimal
    """Returned to balances for those of its tokens that were revoked, until now."""


@dataclass(frozen=True, slots=True)
class Report:
    """The figures by period, their totals, and the sales by offer."""

    range: ReportRange
    periods: list[PeriodFigures]
    total: PeriodFigures
    offers: list[OfferSales]

    @property
    def currencies(self) -> list[str]:
        """The currencies in which money was received."""
        return sorted(self.total.received)


class Reports:
    """Computes reports."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def report(self, wanted: ReportRange) -> Report:
        """The report for a range whose ``error`` is ``None``."""
        days = wanted.first_days
        ends = [*(day - timedelta(days=1) for day in days[1:]), wanted.until]
        periods = [PeriodFigures(first, last) for first, last in zip(days, ends, strict=True)]
        total = PeriodFigures(wanted.since, wanted.until)
        window = _Window(
            wanted.moment(wanted.since),
            wanted.moment(wanted.until + timedelta(days=1)),
            [wanted.moment(day) for day in days[1:]],
        )
        async with self._database.read() as connection:
            for query in (_users(window), _sales(window), _ledger(window)):
                for row in await connection.execute(query):
                    _set(periods[row.period], row)
            for row in await connection.execute(_payments(window)):
                _add_payments(periods[row.period], row)
            for row in await connection.execute(_active_users(window)):
                periods[row.period].active_users = row.number
            for one in periods:
                _add(total, one)
            total.active_users = await _all_active_users(connection, window)
            offers = [_offer(row) for row in await connection.execute(_offers(window))]
        return Report(wanted, periods, total, offers)


# --- queries


@dataclass(frozen=True, slots=True)
class _Window:
    """The range as moments: beginning, end, and the boundaries between its periods."""

    begin: datetime
    end: datetime
    inner: list[datetime]

    def holds(self, moment: Column[Any]) -> ColumnElement[bool]:
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


def _users(window: _Window) -> Select[Any]:
    bought = select(_x.id).where(_x.user_id == users.c.id, _x.transaction_type == "purchase")
    rows = window.rows(users.c.created_at, _number_if(bought.exists()).label("bought")).subquery()
    return _by_period(
        rows, func.count().label("registered"), func.sum(rows.c.bought).label("buyers")
    )


def _sales(window: _Window) -> Select[Any]:
    rows = window.rows(_t.created_at).where(_t.cost > _ZERO).subquery()
    return _by_period(rows, func.count().label("tokens"))


def _ledger(window: _Window) -> Select[Any]:
    """Purchases, and refunds of tokens; refunds of payments are part of the payments."""
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


def _payments(window: _Window) -> Select[Any]:
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


def _sessions(window: _Window) -> Select[Any]:
    """The users of all sessions of the window, with the first and last period of each session."""
    s = usage_sessions.c
    return select(
        s.user_id,
        window.period(s.started_at).label("first"),
        window.period(s.last_seen_at).label("last"),
    ).where(s.last_seen_at >= window.begin, s.started_at < window.end)


def _active_users(window: _Window) -> Select[Any]:
    """A session counts in its first and its last period, and in those between them."""
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


async def _all_active_users(connection: AsyncConnection, window: _Window) -> int:
    sessions = _sessions(window).subquery()
    query = select(func.count(sessions.c.user_id.distinct()))
    return int((await connection.execute(query)).scalar_one())


def _offers(window: _Window) -> Any:
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


# --- rows


def _set(figures: PeriodFigures, row: Row[Any]) -> None:
    for name, value in row._mapping.items():
        if name != "period":
            setattr(figures, name, value if isinstance(value, Decimal) else int(value))


def _add_payments(figures: PeriodFigures, row: Row[Any]) -> None:
    figures.payments += row.payments
    figures.credited += row.credited
    figures.returned += row.returned
    figures.received[row.currency] = row.received


def _add(total: PeriodFigures, one: PeriodFigures) -> None:
    for name in _FIGURES:
        setattr(total, name, getattr(total, name) + getattr(one, name))
    for currency, amount in one.received.items():
        total.received[currency] = total.received.get(currency, _ZERO) + amount


def _offer(row: Row[Any]) -> OfferSales:
    return OfferSales(
        *(row.bundle, row.duration_hours, row.scope, int(row.sales), int(row.tokens)),
        *(row.spent, row.refunded),
    )


# --- CSV


def periods_csv(report: Report) -> Iterator[bytes]:
    """The periods as CSV (RFC 4180): amounts in ZNC, then a column for each currency received."""
    currencies = report.currencies
    yield csv_record("first", "last", *_FIGURES, *(f"received_{code}" for code in currencies))
    for one in report.periods:
        yield csv_record(
            *(one.first, one.last, *(getattr(one, name) for name in _FIGURES)),
            *(one.received.get(code, _ZERO) for code in currencies),
        )


def offers_csv(report: Report) -> Iterator[bytes]:
    """The sales by offer as CSV; ``bundle`` is empty for single tokens."""
    yield csv_record(*_OFFER_FIGURES)
    for one in report.offers:
        yield csv_record(*(getattr(one, name) for name in _OFFER_FIGURES))


REPORTS: web.AppKey[Reports] = web.AppKey("reports", Reports)
"""The application's :class:`Reports`."""

"""Reports for operators: sales, money, users and refunds of a range of days, by period.

A range is cut into periods, whose boundaries are midnights of one time zone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum
from typing import Any

from aiohttp import web
from sqlalchemy import Row

from zenzefi.admin import report_queries as queries
from zenzefi.admin.report_queries import ReportWindow
from zenzefi.db.engine import Database
from zenzefi.printable import csv_record

MAX_PERIODS = 120
"""Maximum number of periods of one report."""

_ZERO = Decimal("0.00")
_TOTALS = (
    *("registered", "buyers", "active_users", "tokens", "spent", "refunded"),
    *("payments", "credited", "returned"),
)
_OFFER_TOTALS = ("bundle", "duration_hours", "scope", "sales", "tokens", "spent", "refunded")


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
class PeriodTotals:
    """The totals of one period, or of the whole range. Amounts are in ZNC."""

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
    """The totals by period and of the whole range, and the sales by offer."""

    range: ReportRange
    periods: list[PeriodTotals]
    total: PeriodTotals
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
        periods = [PeriodTotals(first, last) for first, last in zip(days, ends, strict=True)]
        total = PeriodTotals(wanted.since, wanted.until)
        window = ReportWindow(
            wanted.moment(wanted.since),
            wanted.moment(wanted.until + timedelta(days=1)),
            [wanted.moment(day) for day in days[1:]],
        )
        async with self._database.read() as connection:
            for query in (
                queries.users_query(window),
                queries.sales_query(window),
                queries.ledger_query(window),
            ):
                for row in await connection.execute(query):
                    _set(periods[row.period], row)
            for row in await connection.execute(queries.payments_query(window)):
                _add_payments(periods[row.period], row)
            for row in await connection.execute(queries.active_users_query(window)):
                periods[row.period].active_users = row.number
            for one in periods:
                _add(total, one)
            total.active_users = await queries.all_active_users(connection, window)
            offers = [_offer(row) for row in await connection.execute(queries.offers_query(window))]
        return Report(wanted, periods, total, offers)


# --- rows


def _set(totals: PeriodTotals, row: Row[Any]) -> None:
    for name, value in row._mapping.items():
        if name != "period":
            setattr(totals, name, value if isinstance(value, Decimal) else int(value))


def _add_payments(totals: PeriodTotals, row: Row[Any]) -> None:
    totals.payments += row.payments
    totals.credited += row.credited
    totals.returned += row.returned
    totals.received[row.currency] = row.received


def _add(total: PeriodTotals, one: PeriodTotals) -> None:
    for name in _TOTALS:
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
    yield csv_record("first", "last", *_TOTALS, *(f"received_{code}" for code in currencies))
    for one in report.periods:
        yield csv_record(
            *(one.first, one.last, *(getattr(one, name) for name in _TOTALS)),
            *(one.received.get(code, _ZERO) for code in currencies),
        )


def offers_csv(report: Report) -> Iterator[bytes]:
    """The sales by offer as CSV; ``bundle`` is empty for single tokens."""
    yield csv_record(*_OFFER_TOTALS)
    for one in report.offers:
        yield csv_record(*(getattr(one, name) for name in _OFFER_TOTALS))


REPORTS: web.AppKey[Reports] = web.AppKey("reports", Reports)
"""The application's :class:`Reports`."""

"""Response bodies and filters of the reports in the administration API."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from pydantic import Field

from zenzefi.admin.reports import OfferSales, PeriodLength, PeriodTotals, Report, ReportRange
from zenzefi.api.models import MoneyOut, Output, Query
from zenzefi.errors import Invalid


class ReportQuery(Query):
    """The days of a report, in UTC, and the length of its periods."""

    since: date | None = Field(None, ge=date(2000, 1, 1), lt=date(9000, 1, 1))
    """The first day; default: 29 days before the last one."""
    until: date | None = Field(None, ge=date(2000, 1, 1), lt=date(9000, 1, 1))
    """The last day; default: today."""
    by: PeriodLength = PeriodLength.DAY
    """The length of the periods."""

    def range(self) -> ReportRange:
        """The range. Raises ``Invalid`` if it is empty or has too many periods."""
        until = self.until or datetime.now(UTC).date()
        since = self.since or until - timedelta(days=29)
        found = ReportRange(since, until, self.by, UTC)
        if found.error is not None:
            raise Invalid.field(
                "query", "until", type="value_error", msg=found.error, input=str(until)
            )
        return found


class PeriodOut(Output):
    """The totals of one period, or of the whole range."""

    first: date
    """The first day."""
    last: date
    """The last day."""
    registered: int
    """Users who registered."""
    buyers: int
    """Those of the registered users who have bought something since."""
    conversion: float | None
    """`buyers` divided by `registered`; `null` without new users."""
    active_users: int
    """Users with a session. Sessions are kept for `SESSION_RETENTION_DAYS`."""
    tokens: int
    """Tokens sold, those of bundles included, free ones not."""
    spent_znc: MoneyOut
    """Paid for tokens and bundles, in ZNC."""
    refunded_znc: MoneyOut
    """Returned to balances for revoked tokens, in ZNC."""
    revenue_znc: MoneyOut
    """`spent_znc` without `refunded_znc`."""
    payments: int
    """Payments that arrived."""
    credited_znc: MoneyOut
    """Their amount in ZNC."""
    returned_znc: MoneyOut
    """The part of these payments that was refunded or disputed since, in ZNC."""
    received: dict[str, MoneyOut]
    """Money of these payments by currency (ISO 4217), before refunds."""

    @classmethod
    def of(cls, totals: PeriodTotals) -> PeriodOut:
        """The response for these totals."""
        return cls(
            first=totals.first,
            last=totals.last,
            registered=totals.registered,
            buyers=totals.buyers,
            conversion=totals.conversion,
            active_users=totals.active_users,
            tokens=totals.tokens,
            spent_znc=totals.spent,
            refunded_znc=totals.refunded,
            revenue_znc=totals.revenue,
            payments=totals.payments,
            credited_znc=totals.credited,
            returned_znc=totals.returned,
            received=totals.received,
        )


class OfferSalesOut(Output):
    """The sales of one offer in the range."""

    bundle: str | None
    """The bundle's name; `null` for single tokens."""
    duration_hours: int
    """Validity of the tokens, in hours."""
    scope: str
    """The scope of the tokens."""
    sales: int
    """Number of purchases. Free and issued tokens have a separate entry."""
    tokens: int
    """Number of tokens."""
    spent_znc: MoneyOut
    """Paid, in ZNC."""
    refunded_znc: MoneyOut
    """Returned to balances for those tokens that were revoked until now, in ZNC."""

    @classmethod
    def of(cls, sales: OfferSales) -> OfferSalesOut:
        """The response for these sales."""
        return cls(
            bundle=sales.bundle,
            duration_hours=sales.duration_hours,
            scope=sales.scope,
            sales=sales.sales,
            tokens=sales.tokens,
            spent_znc=sales.spent,
            refunded_znc=sales.refunded,
        )


class ReportOut(Output):
    """A report: totals by period and of the whole range, and sales by offer."""

    by: PeriodLength
    """The length of the periods; the first and the last one may be incomplete."""
    periods: list[PeriodOut]
    """The periods in order."""
    total: PeriodOut
    """The whole range. `active_users` counts each user once."""
    offers: list[OfferSalesOut]
    """The sales by offer."""

    @classmethod
    def of(cls, report: Report) -> ReportOut:
        """The response for this report."""
        return cls(
            by=report.range.length,
            periods=[PeriodOut.of(one) for one in report.periods],
            total=PeriodOut.of(report.total),
            offers=[OfferSalesOut.of(one) for one in report.offers],
        )

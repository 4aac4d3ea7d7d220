"""Operations of the administration API for reports."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from zenzefi.accounts.identity import User
from zenzefi.admin.report_schemas import ReportOut, ReportQuery
from zenzefi.admin.reports import REPORTS, offers_csv, periods_csv
from zenzefi.api.routing import Routes

routes = Routes("Administration")


@routes.get("/admin/reports")
async def report(request: web.Request, admin: User, query: ReportQuery) -> ReportOut:
    """Sales, money, users and refunds by day, week or month."""
    return ReportOut.of(await request.app[REPORTS].report(query.range()))


@routes.get("/admin/reports/periods.csv")
async def report_periods(
    request: web.Request, admin: User, query: ReportQuery
) -> web.StreamResponse:
    """The periods of a report as CSV."""
    return csv_response("report.csv", periods_csv(await request.app[REPORTS].report(query.range())))


@routes.get("/admin/reports/offers.csv")
async def report_offers(
    request: web.Request, admin: User, query: ReportQuery
) -> web.StreamResponse:
    """The sales by offer of a report as CSV."""
    return csv_response("offers.csv", offers_csv(await request.app[REPORTS].report(query.range())))


def csv_response(name: str, records: Iterable[bytes], *, marked: bool = False) -> web.Response:
    """A short CSV file to download.

    ``marked``: begin with a byte order mark, without which Excel does not detect UTF-8.
    """
    return web.Response(
        body=("\ufeff".encode() if marked else b"") + b"".join(records),
        headers={
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        },
    )

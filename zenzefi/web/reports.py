"""Pages for administrators: reports by period, and their export as CSV."""

from __future__ import annotations

from datetime import timedelta

from aiohttp import web

from zenzefi import i18n
from zenzefi.admin.report_views import csv_response
from zenzefi.admin.reports import (
    MAX_PERIODS,
    REPORTS,
    PeriodLength,
    Report,
    ReportRange,
    offers_csv,
    periods_csv,
)
from zenzefi.i18n import gettext as _
from zenzefi.settings import SETTINGS
from zenzefi.tokens.scope_texts import scope_text
from zenzefi.web import day_fields, pagination
from zenzefi.web.forms import Form
from zenzefi.web.page import PageContext
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.ADMINISTRATOR, section="/admin")

_FILTERS = ("since", "until", "by")
_DAYS = 30


def _range(form: Form) -> ReportRange:
    """The range of the form; an invalid one gets an error and is replaced by the default."""
    chosen = form.text("by")
    length = PeriodLength(chosen) if chosen in list(PeriodLength) else PeriodLength.DAY
    today, zone = day_fields.today(), i18n.current().zone
    until = day_fields.day(form, "until") or today
    since = day_fields.day(form, "since") or until - timedelta(days=_DAYS - 1)
    found = ReportRange(since, until, length, zone)
    if until < since:
        form.fail("until", _("This day is before the first one."))
    elif found.error is not None:
        form.fail("by", _("More than %(num)s periods. Please choose longer ones.", num=MAX_PERIODS))
    if form.ok:
        return found
    return ReportRange(today - timedelta(days=_DAYS - 1), today, PeriodLength.DAY, zone)


async def _report(page: PageContext) -> tuple[Form, Report]:
    form = Form({name: pagination.filter_value(page, name) for name in _FILTERS})
    return form, await page.request.app[REPORTS].report(_range(form))


@routes.get("/admin/reports")
async def reports(page: PageContext) -> web.StreamResponse:
    """Sales, money, users and refunds by period, and sales by offer."""
    form, report = await _report(page)
    shown = report.range
    exported = {
        "since": str(shown.since),
        "until": str(shown.until),
        "by": shown.length.value,
    }
    return page.render(
        "admin/reports.html",
        report=report,
        form=Form(exported) if form.ok else form,
        lengths=[("day", _("Days")), ("week", _("Weeks")), ("month", _("Months"))],
        periods_export=pagination.pager_url("/admin/reports/periods.csv", **exported)[:-1],
        offers_export=pagination.pager_url("/admin/reports/offers.csv", **exported)[:-1],
        scope_title=lambda name: scope_text(name, page.request.app[SETTINGS].scope_texts)[0],
    )


@routes.get("/admin/reports/periods.csv")
async def periods_export(page: PageContext) -> web.StreamResponse:
    """The periods as CSV."""
    _form, report = await _report(page)
    return csv_response("report.csv", periods_csv(report), marked=True)


@routes.get("/admin/reports/offers.csv")
async def offers_export(page: PageContext) -> web.StreamResponse:
    """The sales by offer as CSV."""
    _form, report = await _report(page)
    return csv_response("offers.csv", offers_csv(report), marked=True)

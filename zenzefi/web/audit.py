"""Pages for administrators about the audit log, and its export as CSV."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

from aiohttp import web

from zenzefi.admin.service import ADMINISTRATION
from zenzefi.audit.reading import AUDIT_LOG, AuditFilter, AuditRow
from zenzefi.i18n import gettext as _
from zenzefi.printable import csv_record
from zenzefi.web import day_fields, labels, pagination
from zenzefi.web.forms import Form
from zenzefi.web.page import PageContext
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.ADMINISTRATOR, section="/admin")

_FILTERS = ("who", "action", "kind", "since", "until")
_MAX_CSV_ROWS = 100_000
_NO_USER = UUID(int=0)


async def _filters(page: PageContext, form: Form) -> AuditFilter:
    """The query for the filters of the form; an invalid filter gets an error and is ignored."""
    user = form.text("who")
    about = None
    if user:
        about = await page.request.app[ADMINISTRATION].find_user(user)
        if about is None:
            form.fail("who", _("No user with that name, e-mail or ID."))
            about = _NO_USER
    since, until = day_fields.day(form, "since"), day_fields.day(form, "until")
    return AuditFilter(
        about=about,
        action=form.text("action") or None,
        resource_type=form.text("kind") or None,
        since=None if since is None else day_fields.midnight(since),
        until=None if until is None else day_fields.midnight(until + timedelta(days=1)),
    )


@routes.get("/admin/audit")
async def audit(page: PageContext) -> web.StreamResponse:
    """The rows that match the filters, newest first."""
    form = Form({name: pagination.filter_value(page, name) for name in _FILTERS})
    rows, total = await page.request.app[AUDIT_LOG].listed(
        await _filters(page, form), limit=pagination.ROWS, offset=pagination.offset(page)
    )
    names = await page.request.app[ADMINISTRATION].names(
        [*(row.user_id for row in rows), *map(_subject, rows)]
    )
    return page.render(
        "admin/audit.html",
        listing=pagination.ListPage(rows, total, pagination.ROWS, pagination.offset(page)),
        names=names,
        subject=_subject,
        form=form,
        filtered=any(form.values.values()),
        actions=[("", _("All")), *labels.audit_actions()],
        kinds=[("", _("All")), *labels.audit_resources()],
        base=pagination.pager_url("/admin/audit", **form.values),
        export=pagination.pager_url("/admin/audit.csv", **form.values).rstrip("?&"),
    )


def _subject(row: AuditRow) -> UUID | None:
    """ID of the user that the row is about, if it is about a user."""
    if row.resource_type != "user" or row.resource_id is None:
        return None
    return UUID(row.resource_id)


@routes.get("/admin/audit.csv")
async def audit_csv(page: PageContext) -> web.StreamResponse:
    """The rows that match the filters as CSV, streamed."""
    form = Form({name: pagination.filter_value(page, name) for name in _FILTERS})
    return web.Response(
        body=_lines(page, await _filters(page, form)),
        headers={
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": 'attachment; filename="audit.csv"',
        },
    )


async def _lines(page: PageContext, query: AuditFilter) -> AsyncIterator[bytes]:
    yield csv_record(
        "time",
        "user_id",
        "action",
        "kind",
        "resource_id",
        "address",
        "request_id",
        "details",
        "user_agent",
    )
    async for row in page.request.app[AUDIT_LOG].each(query, most=_MAX_CSV_ROWS):
        yield csv_record(
            row.created_at.isoformat(),
            row.user_id or "",
            row.action,
            row.resource_type,
            row.resource_id or "",
            row.address or "",
            row.request_id or "",
            json.dumps(row.details, ensure_ascii=False),
            row.agent or "",
        )

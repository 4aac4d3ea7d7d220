"""Page for administrators about promo codes: create, list, switch on and off."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from aiohttp import web

from zenzefi import i18n
from zenzefi.admin.promo_schemas import NewPromoCode
from zenzefi.errors import NotFound
from zenzefi.i18n import gettext as _
from zenzefi.tokens.errors import PromoCodeTaken
from zenzefi.tokens.promo_codes import PROMO_CODES
from zenzefi.web import pagination
from zenzefi.web.forms import Form
from zenzefi.web.page import PageContext, path_id
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.ADMINISTRATOR, section="/admin")

_PATH = "/admin/promo-codes"


async def _codes_page(page: PageContext, form: Form, *, status: int = 200) -> web.Response:
    offset = pagination.offset(page)
    found, total = await page.request.app[PROMO_CODES].listed(limit=pagination.ROWS, offset=offset)
    return page.render(
        "admin/promo_codes.html",
        status=status,
        form=form,
        kinds=[("percent", _("Per cent")), ("amount_znc", _("Amount in ZNC"))],
        listing=pagination.ListPage(found, total, pagination.ROWS, offset),
        base=pagination.pager_url(_PATH),
    )


@routes.get(_PATH)
async def promo_codes(page: PageContext) -> web.StreamResponse:
    """All promo codes, and the form for a new one."""
    return await _codes_page(page, Form({"kind": "percent"}))


def _moment(form: Form, name: str, *, days: int = 0) -> datetime | None:
    """The start of a day in the reader's time zone, ``days`` later."""
    if not form.text(name):
        return None
    try:
        day = date.fromisoformat(form.text(name)) + timedelta(days=days)
        return datetime.combine(day, time(), i18n.current().zone).astimezone(UTC)
    except (ValueError, OverflowError):
        form.fail(name, _("Please enter a date, such as 2026-12-31."))
        return None


def _entry(form: Form) -> NewPromoCode | None:
    kind = form.text("kind")
    if kind not in ("percent", "amount_znc"):
        form.fail("kind", _("Please choose a value from the list."))
        return None
    limit = form.whole_number("max_uses")
    if form.text("max_uses") and not limit:
        form.fail("max_uses", _("Please enter a whole number of at least 1."))
    value = form.whole_number("value") if kind == "percent" else form.amount_text("value")
    values = {kind: value, "code": form.text("code") or None, "max_uses": limit or None}
    given = Form()
    entry = given.validate(NewPromoCode, values)
    if "code" in given.errors:
        form.fail("code", _("4 to 40 letters from A to Z, digits and hyphens, please."))
    if entry is None and "code" not in given.errors:
        form.fail("value", _("Please enter 1 to 100 per cent, or an amount above zero."))
    return entry if form.ok else None


@routes.post(_PATH)
async def create(page: PageContext) -> web.StreamResponse:
    """Create a promo code."""
    form = await page.form()
    starts_at, ends_at = _moment(form, "starts"), _moment(form, "ends", days=1)
    entry = _entry(form)
    if entry is None:
        return await _codes_page(page, form, status=422)
    try:
        made = await page.request.app[PROMO_CODES].create(
            page.actor,
            code=entry.code,
            percent=entry.percent,
            amount=entry.amount_znc,
            max_uses=entry.max_uses,
            starts_at=starts_at,
            ends_at=ends_at,
        )
    except PromoCodeTaken:
        form.fail("code", _("There is a promo code of this name. Choose another one."))
        return await _codes_page(page, form, status=422)
    page.flash("good", _("The promo code %(code)s is created.", code=made.code))
    return page.redirect(_PATH)


@routes.post(_PATH + "/{id}/{change:on|off}")
async def switch(page: PageContext) -> web.StreamResponse:
    """Switch a promo code on or off."""
    is_active = page.request.match_info["change"] == "on"
    try:
        await page.request.app[PROMO_CODES].switch(page.actor, path_id(page), is_active=is_active)
    except NotFound:
        page.flash("bad", _("This promo code does not exist."))
    else:
        page.flash("good", _("The promo code is changed."))
    return page.redirect(_PATH)

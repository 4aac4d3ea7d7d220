"""Pages for administrators about payments: search, totals, confirmation, refunds."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from aiohttp import web

from zenzefi.admin.service import ADMINISTRATION
from zenzefi.billing.errors import PaymentNotOpen
from zenzefi.billing.payment_search import PAYMENT_SEARCH, PaymentFilter
from zenzefi.billing.payments import PAYMENTS
from zenzefi.billing.providers.base import NotRefundable, ProviderFailed
from zenzefi.db.engine import DATABASE
from zenzefi.i18n import gettext as _
from zenzefi.web import confirmation, day_fields, labels, pagination, users
from zenzefi.web.forms import Form
from zenzefi.web.page import PageContext, path_id
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.ADMINISTRATOR, section="/admin")

_FILTERS = ("user", "number", "status", "since", "until")
_NO_USER = UUID(int=0)


async def _filter(page: PageContext, form: Form) -> PaymentFilter:
    """The filter of the form; an invalid field gets an error and is ignored."""
    user_id = None
    if form.text("user"):
        user_id = await page.request.app[ADMINISTRATION].find_user(form.text("user"))
        if user_id is None:
            form.fail("user", _("No user with that name, e-mail or ID."))
            user_id = _NO_USER
    status = form.text("status")
    since, until = day_fields.day(form, "since"), day_fields.day(form, "until")
    return PaymentFilter(
        user_id=user_id,
        number=form.text("number") or None,
        status=status if status in dict(labels.payment_states()) else None,
        since=None if since is None else day_fields.midnight(since),
        until=None if until is None else day_fields.midnight(until + timedelta(days=1)),
    )


@routes.get("/admin/payments")
async def payments(page: PageContext) -> web.StreamResponse:
    """Payments of all users that match the filters, and their totals."""
    form = Form({name: pagination.filter_value(page, name) for name in _FILTERS})
    offset = pagination.offset(page)
    found, totals = await page.request.app[PAYMENT_SEARCH].find(
        await _filter(page, form), limit=pagination.ROWS, offset=offset
    )
    total = sum(one.payments for one in totals)
    return page.render(
        "admin/payments.html",
        listing=pagination.ListPage(found, total, pagination.ROWS, offset),
        totals=totals,
        names=await page.request.app[ADMINISTRATION].names(row.user_id for row in found),
        form=form,
        filtered=any(form.values.values()),
        statuses=[("", _("All")), *labels.payment_states()],
        base=pagination.pager_url("/admin/payments", **form.values),
        confirmations=confirmation,
    )


@routes.post("/admin/payments/{id}/confirm")
async def confirm(page: PageContext) -> web.StreamResponse:
    """Confirm that the money of a manual payment has arrived."""
    payment = await page.request.app[PAYMENTS].find(path_id(page))
    owner = await users.owner(page, payment.user_id)
    unconfirmed = await confirmation.ask(
        page,
        confirmation.confirm_payment(payment.amount_znc, owner.username),
        back="/admin/payments",
    )
    if unconfirmed is not None:
        return unconfirmed
    try:
        async with page.request.app[DATABASE].begin() as connection:
            await page.request.app[PAYMENTS].confirm(connection, page.actor, payment.id)
    except PaymentNotOpen:
        page.flash("bad", _("This payment can't be confirmed manually."))
    else:
        page.flash("good", _("Confirmed. The amount has been credited."))
    return page.redirect("/admin/payments")


@routes.post("/admin/payments/{id}/refund")
async def refund(page: PageContext) -> web.StreamResponse:
    """Have the provider refund a payment."""
    payment = await page.request.app[PAYMENTS].find(path_id(page))
    owner = await users.owner(page, payment.user_id)
    unconfirmed = await confirmation.ask(
        page,
        confirmation.refund_payment(payment.amount_znc, owner.username),
        back="/admin/payments",
    )
    if unconfirmed is not None:
        return unconfirmed
    try:
        await page.request.app[PAYMENTS].refund(page.actor, payment.id)
    except (NotRefundable, ProviderFailed):
        page.flash("bad", _("This can't be refunded here. Refund it at the payment provider."))
    else:
        page.flash(
            "good", _("The refund has been requested. The balance changes when it is confirmed.")
        )
    return page.redirect("/admin/payments")

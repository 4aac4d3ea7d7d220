"""Pages about money: balance, top-ups, transactions with receipts and CSV."""

from __future__ import annotations

import secrets
from contextlib import suppress
from decimal import Decimal

from aiohttp import web

from zenzefi.api.idempotency import IDEMPOTENCY, form_key
from zenzefi.billing.errors import PaymentNotOpen
from zenzefi.billing.ledger import Kind
from zenzefi.billing.payments import PAYMENTS
from zenzefi.billing.providers.base import CheckoutRefused, ProviderFailed
from zenzefi.billing.schemas import TopUp
from zenzefi.billing.statement import STATEMENTS
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.errors import Invalid
from zenzefi.i18n import gettext as _
from zenzefi.settings import SETTINGS
from zenzefi.web import labels, pagination
from zenzefi.web.checkout import OpenedPayment, order_card
from zenzefi.web.forms import BLANK, Form
from zenzefi.web.page import PageContext, path_id
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.SIGNED_IN, section="/account/money")

_ROWS = 20
_LATEST = 5


async def _money_page(page: PageContext, form: Form, *, status: int = 200) -> web.Response:
    app = page.request.app
    chosen = page.request.query.get("type", "")
    kind = Kind(chosen) if chosen in list(Kind) else None
    offset = pagination.offset(page)
    rows, total = await app[STATEMENTS].listed(page.user.id, kind=kind, limit=_ROWS, offset=offset)
    latest, payments_total = await app[PAYMENTS].listed(
        user_id=page.user.id, limit=_LATEST, offset=0
    )
    return page.render(
        "account/money.html",
        status=status,
        form=form,
        blank=BLANK,
        once=secrets.token_urlsafe(18),
        rate=Decimal(1),
        providers=[(name, labels.provider(name)) for name in app[PAYMENTS].providers],
        latest=latest,
        more_payments=payments_total > _LATEST,
        owed=await app[PAYMENTS].owed(page.user.id),
        types=labels.transaction_types(),
        chosen=kind or "",
        listing=pagination.ListPage(rows, total, _ROWS, offset),
    )


@routes.get("/account/money")
async def money(page: PageContext) -> web.StreamResponse:
    """Balance, top-up and transactions."""
    return await _money_page(page, Form())


@routes.post("/account/money/top-up")
async def top_up(page: PageContext) -> web.StreamResponse:
    """Open a payment and show where to pay; a form sent twice opens one payment."""
    payments, form = page.request.app[PAYMENTS], await page.form()
    typed = form.amount_text("amount")
    entry = Form({"amount_znc": typed}).read(TopUp, "amount_znc")
    provider = form.text("provider")
    if not typed:
        form.fail("amount", _("Please fill this in."))
    elif entry is None:
        form.fail("amount", _("Please enter an amount above zero, such as 100 or 12.50."))
    if provider not in payments.providers:
        form.fail("", _("Please choose how to pay."))
    if entry is None or not form.ok:
        return await _money_page(page, form, status=422)
    amount = entry.amount_znc

    async def work(connection: AsyncConnection) -> OpenedPayment:
        if provider == "mock":  # for development: paid at once
            paid = await payments.mock_payment(connection, page.actor, page.user.id, amount)
            return OpenedPayment(payment_id=paid.id)
        payment = await payments.open(
            connection,
            page.actor,
            page.user.id,
            amount=amount,
            return_url=f"{page.request.app[SETTINGS].public_origin}/account/money",
            provider_name=provider,
        )
        return OpenedPayment(payment_id=payment.id)

    try:
        opened = await page.request.app[IDEMPOTENCY].run(
            page.user.id,
            form_key(form.text("once"), provider, amount),
            "pages.top-up",
            TopUp(amount_znc=amount, provider=provider),
            OpenedPayment,
            work,
        )
        await payments.start(opened.payment_id)
    except (Invalid, CheckoutRefused):
        form.fail("amount", _("The payment provider does not accept this amount."))
        return await _money_page(page, form, status=422)
    except ProviderFailed:
        page.flash("bad", _("The payment provider does not respond. Nothing was charged."))
    return page.redirect(f"/account/payments/{opened.payment_id}")


@routes.get("/account/payments")
async def payments(page: PageContext) -> web.StreamResponse:
    """All payments of the user, in any state."""
    offset = pagination.offset(page)
    rows, total = await page.request.app[PAYMENTS].listed(
        user_id=page.user.id, limit=_ROWS, offset=offset
    )
    listing = pagination.ListPage(rows, total, _ROWS, offset)
    return page.render("account/payments.html", listing=listing)


@routes.get("/account/payments/{id}")
async def payment(page: PageContext) -> web.StreamResponse:
    """One payment. Also queries the provider, because its notification can be late or lost."""
    found = await page.request.app[PAYMENTS].find(path_id(page), page.user.id)
    with suppress(ProviderFailed, CheckoutRefused):  # show the stored state
        found = await page.request.app[PAYMENTS].check_now(found.id, page.user.id)
    own = str(page.request.app[SETTINGS].public_origin)
    outside = found.payment_url if not (found.payment_url or own).startswith(own) else None
    return page.render(
        "account/payment.html",
        payment=found,
        pay_url=outside,
        order=await order_card(page, found.id),
    )


@routes.post("/account/payments/{id}/cancel")
async def cancel(page: PageContext) -> web.StreamResponse:
    """Cancel a payment."""
    try:
        await page.request.app[PAYMENTS].cancel(page.actor, path_id(page), page.user.id)
    except PaymentNotOpen:
        return page.redirect(f"/account/payments/{path_id(page)}")
    page.flash("info", _("The payment is cancelled."))
    return page.redirect("/account/money")


@routes.get("/account/money/transactions.csv")
async def statement(page: PageContext) -> web.StreamResponse:
    """All transactions as CSV, streamed."""
    return web.Response(
        body=page.request.app[STATEMENTS].csv(page.user.id, marked=True),
        headers={
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": 'attachment; filename="transactions.csv"',
        },
    )


@routes.get("/account/money/receipts/{id}")
async def receipt(page: PageContext) -> web.StreamResponse:
    """One transaction, for printing."""
    item = await page.request.app[STATEMENTS].find(page.user.id, path_id(page))
    site_name = page.request.app[SETTINGS].public_origin.authority
    return page.render("account/receipt.html", item=item, site_name=site_name)

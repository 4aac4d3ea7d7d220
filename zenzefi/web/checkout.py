"""Paying for a choice: tops up exactly what is missing, and the payment completes the purchase."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import urlencode
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel

from zenzefi import i18n
from zenzefi.api.idempotency import IDEMPOTENCY, form_key
from zenzefi.billing.payments import PAYMENTS, Payments
from zenzefi.billing.providers.base import CheckoutRefused, ProviderFailed
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.errors import Invalid, NotFound
from zenzefi.i18n import gettext as _
from zenzefi.i18n import ngettext
from zenzefi.settings import SETTINGS
from zenzefi.tokens.bundles import BUNDLES
from zenzefi.tokens.orders import ORDERS, Choice
from zenzefi.tokens.scope_texts import scope_text
from zenzefi.tokens.scopes import FULL
from zenzefi.tokens.service import TOKENS
from zenzefi.web import labels
from zenzefi.web.buying import price_changed, promo_code
from zenzefi.web.forms import Form
from zenzefi.web.page import PageContext
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.SIGNED_IN, section="/account/buy")

_ROUND = "round:"
"""Before the provider's name in the value of a button that pays the round amount."""


class OpenedPayment(BaseModel):
    """Stored result of a form: a form sent twice opens one payment."""

    payment_id: UUID


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A choice with its current price and the texts of its card."""

    choice: Choice
    price: Decimal
    title: str
    note: str
    code: str = ""
    """The promo code, which the price contains."""

    @property
    def fields(self) -> dict[str, str]:
        """The choice as fields of a form or a query."""
        if self.choice.bundle_id is not None:
            return {"bundle": str(self.choice.bundle_id)}
        fields = {"hours": str(self.choice.duration_hours), "scope": self.choice.scope or FULL}
        return fields | ({"code": self.code} if self.code else {})


async def _chosen(page: PageContext, form: Form) -> _Chosen:
    """The choice in a form or a query. Raises ``NotFound`` for what is not on sale."""
    app = page.request.app
    texts = app[SETTINGS].scope_texts
    if form.text("bundle"):
        for one in await app[BUNDLES].listed():
            if str(one.id) == form.text("bundle"):
                note = _tokens(one.token_count, one.duration_hours)
                return _Chosen(Choice(bundle_id=one.id), one.price, one.name, note)
        raise NotFound
    hours, scope = form.whole_number("hours"), form.text("scope") or FULL
    if hours is None or scope not in app[TOKENS].scopes.names:
        raise NotFound
    price = (await app[TOKENS].offers.current()).price(hours, scope)
    if price is None:
        raise NotFound
    title, note = i18n.hours(hours), scope_text(scope, texts)[0]
    promo = await promo_code(page, form)
    if promo is None:
        return _Chosen(Choice(duration_hours=hours, scope=scope), price, title, note)
    paid = promo.price(price)
    choice = Choice(
        duration_hours=hours, scope=scope, promo_code_id=promo.id, discount=price - paid
    )
    return _Chosen(choice, paid, title, note, promo.code)


def _tokens(count: int, hours: int) -> str:
    return ngettext(
        "%(num)s token of %(duration)s",
        "%(num)s tokens of %(duration)s each",
        count,
        duration=i18n.hours(hours),
    )


def _amounts(payments: Payments, missing: Decimal) -> tuple[Decimal, Decimal]:
    """The amounts in ZNC that a buyer can choose: what is missing, and one with a round price."""
    return payments.amounts.at_least(missing), payments.amounts.rounded_up(missing)


def _price(payments: Payments, amount: Decimal) -> str:
    return i18n.price(payments.amounts.cost(amount), payments.currency)


async def _page(
    page: PageContext, chosen: _Chosen, form: Form, *, status: int = 200
) -> web.Response:
    app = page.request.app
    missing = await app[ORDERS].missing(page.user.id, chosen.price)
    if missing <= 0:
        return page.redirect(f"/account/buy?{urlencode(chosen.fields)}")
    payments = app[PAYMENTS]
    exact, rounded = _amounts(payments, missing)
    return page.render(
        "account/checkout.html",
        status=status,
        form=form,
        once=secrets.token_urlsafe(18),
        chosen=chosen,
        missing=missing,
        owed=await payments.owed(page.user.id),
        exact=exact,
        pay=_("Pay %(amount)s and get it", amount=_price(payments, exact)),
        pay_round=_("Pay %(amount)s", amount=_price(payments, rounded)),
        has_round=rounded > exact,
        rest=rounded - missing,
        providers=[(name, labels.provider(name)) for name in payments.providers],
    )


@routes.get("/account/buy/pay")
async def checkout(page: PageContext) -> web.StreamResponse:
    """The choice, the missing amount, and the ways to pay it."""
    form = Form(dict(page.request.query))
    return await _page(page, await _chosen(page, form), Form())


@routes.post("/account/buy/pay")
async def pay(page: PageContext) -> web.StreamResponse:
    """Open the payment of the missing amount; a form sent twice opens one."""
    app, form = page.request.app, await page.form()
    chosen, payments = await _chosen(page, form), app[PAYMENTS]
    # Each of the two amounts has a button for each provider.
    provider = form.text("provider").removeprefix(_ROUND)
    missing = await app[ORDERS].missing(page.user.id, chosen.price)
    if form.text("seen") not in ("", f"{chosen.price:.2f}"):
        form.fail("", price_changed())
    elif provider not in payments.providers:
        form.fail("", _("Please choose how to pay."))
    if not form.ok or missing <= 0:
        return await _page(page, chosen, form, status=422)
    exact, rounded = _amounts(payments, missing)
    amount = rounded if form.text("provider").startswith(_ROUND) else exact

    async def work(connection: AsyncConnection) -> OpenedPayment:
        opened = await app[ORDERS].open(
            connection,
            page.actor,
            page.user.id,
            chosen.choice,
            price=chosen.price,
            amount=amount,
            provider_name=provider,
            return_to=f"{app[SETTINGS].public_origin}/account/payments/",
        )
        return OpenedPayment(payment_id=opened.id)

    try:
        opened = await app[IDEMPOTENCY].run(
            page.user.id,
            form_key(form.text("once"), *chosen.fields.values(), provider, amount),
            "pages.order",
            None,
            OpenedPayment,
            work,
        )
        await payments.start(opened.payment_id)
    except (Invalid, CheckoutRefused):
        form.fail("", _("The payment provider does not accept this amount."))
        return await _page(page, chosen, form, status=422)
    except ProviderFailed:
        page.flash("bad", _("The payment provider does not respond. Nothing was charged."))
    return page.redirect(f"/account/payments/{opened.payment_id}")


@dataclass(frozen=True, slots=True)
class OrderCard:
    """An order on the page of its payment."""

    title: str
    note: str
    price: Decimal
    status: str
    reason: str | None
    href: str


async def order_card(page: PageContext, payment_id: UUID) -> OrderCard | None:
    """The order of a payment, if it has one."""
    app = page.request.app
    order = await app[ORDERS].of_payment(payment_id)
    if order is None:
        return None
    title, note = "", ""
    if order.bundle_id is not None:
        with suppress(NotFound):
            bundle = await app[BUNDLES].find(order.bundle_id)
            title, note = bundle.name, _tokens(bundle.token_count, bundle.duration_hours)
    else:
        title = i18n.hours(order.duration_hours or 0)
        note = scope_text(order.scope or FULL, app[SETTINGS].scope_texts)[0]
    href = "/account" if order.token_id is None else f"/account/tokens/{order.token_id}"
    return OrderCard(title, note, order.price, order.status, order.reason, href)

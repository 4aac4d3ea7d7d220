"""The endpoints of orders: purchases that a payment completes when it arrives."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, Self
from uuid import UUID

from aiohttp import web
from pydantic import Field, StringConstraints, model_validator

from zenzefi.accounts.identity import User
from zenzefi.api.idempotency import HEADER, IDEMPOTENCY, IdempotencyInFlight, key_of
from zenzefi.api.models import ONE_LINE, Body, MoneyOut, Output, Price
from zenzefi.api.routing import Routes, actor_of
from zenzefi.billing.payments import PAYMENTS
from zenzefi.billing.providers.base import CheckoutRefused, ProviderFailed
from zenzefi.billing.repository import Payment, PaymentStatus
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.errors import NotFound
from zenzefi.settings import SETTINGS
from zenzefi.tokens.bundles import BUNDLES
from zenzefi.tokens.errors import (
    BalanceSuffices,
    InvalidDuration,
    PriceChanged,
    PromoCodeInvalid,
    PromoCodeUsed,
    ScopeNotAllowed,
)
from zenzefi.tokens.orders import ORDERS, Choice, Order
from zenzefi.tokens.promo_codes import PROMO_CODES
from zenzefi.tokens.schemas import DurationHours
from zenzefi.tokens.scopes import FULL
from zenzefi.tokens.service import TOKENS

routes = Routes("Money")


class NewOrder(Body):
    """A purchase for which the balance is too low: one token, or a bundle."""

    duration_hours: DurationHours | None = None
    """How long the token lasts from its first use, in hours."""
    scope: Annotated[str, Field(max_length=50)] = FULL
    """The scope of the token."""
    promo_code: Annotated[str, Field(max_length=40)] | None = None
    """A promo code, which lowers the price of the token."""
    bundle_id: UUID | None = None
    """The bundle to buy, instead of a token."""
    price_znc: Price
    """The price that the buyer agreed to, in ZNC. It is charged, also if prices change later."""
    round_up: bool = False
    """Pay a round amount instead of exactly what is missing; the rest stays on the balance."""
    provider: Annotated[str, StringConstraints(max_length=30), ONE_LINE] | None = None
    """The payment provider; default: the first one configured."""

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if (self.duration_hours is None) == (self.bundle_id is None):
            raise ValueError("must have either duration_hours or bundle_id")
        if self.bundle_id is not None and self.promo_code is not None:
            raise ValueError("promo_code does not apply to bundles")
        return self


class OrderOut(Output):
    """An order and its payment."""

    payment_id: UUID
    """The ID of the payment, which also identifies the order."""
    payment_url: str | None
    """URL of the payment page, or `null`."""
    payment_status: PaymentStatus
    """The status of the payment."""
    amount_znc: MoneyOut
    """The amount to pay, in ZNC."""
    amount: MoneyOut
    """The amount to pay, in `currency`."""
    currency: str
    """The currency that the buyer pays in (ISO 4217)."""
    price_znc: MoneyOut
    """The price of the purchase, in ZNC."""
    status: Literal["waiting", "completed", "failed", "cancelled"]
    """`waiting`: the purchase follows when the payment arrives."""
    reason: str | None
    """The code of the error that made it fail, or `null`."""
    token_id: UUID | None
    """The token that was bought, or `null`."""
    bundle_purchase_id: UUID | None
    """The purchase of the bundle, or `null`."""


def _out(order: Order, payment: Payment) -> OrderOut:
    return OrderOut(
        payment_id=payment.id,
        payment_url=payment.payment_url,
        payment_status=PaymentStatus(payment.status),
        amount_znc=payment.amount_znc,
        amount=payment.amount_rub,
        currency=payment.currency,
        price_znc=order.price,
        status=order.status,
        reason=order.reason,
        token_id=order.token_id,
        bundle_purchase_id=order.bundle_purchase_id,
    )


async def _chosen(
    request: web.Request, user: User, body: NewOrder, connection: AsyncConnection
) -> tuple[Choice, Decimal]:
    """The choice and its current price."""
    app = request.app
    if body.bundle_id is not None:
        bundle = await app[BUNDLES].on_sale(connection, body.bundle_id)
        return Choice(bundle_id=bundle.id), bundle.price
    hours = body.duration_hours or 0
    full = await app[TOKENS].price(hours, body.scope, connection)
    if body.promo_code is None:
        return Choice(hours, body.scope), full
    promo = await app[PROMO_CODES].valid(body.promo_code, user.id, connection)
    price = promo.price(full)
    return Choice(hours, body.scope, promo_code_id=promo.id, discount=full - price), price


class OrderOpened(Output):
    """Stored result of a call: a repeated call opens one payment."""

    payment_id: UUID
    """The ID of the payment."""


@routes.post(
    "/orders",
    status=201,
    errors=(
        *(InvalidDuration, PromoCodeInvalid, CheckoutRefused, NotFound, PriceChanged),
        *(PromoCodeUsed, BalanceSuffices, IdempotencyInFlight, ProviderFailed, ScopeNotAllowed),
    ),
    headers=(HEADER,),
)
async def order(request: web.Request, user: User, body: NewOrder) -> OrderOut:
    """Pay what is missing for a purchase; the payment completes it when it arrives.

    The buyer pays at `payment_url`. A repeated call with the same Idempotency-Key and body opens
    one payment.
    """
    app = request.app

    async def work(connection: AsyncConnection) -> OrderOpened:
        choice, price = await _chosen(request, user, body, connection)
        if price != body.price_znc:
            raise PriceChanged
        missing = await app[ORDERS].missing(user.id, price, connection)
        if missing <= 0:
            raise BalanceSuffices
        amounts = app[PAYMENTS].amounts
        opened = await app[ORDERS].open(
            connection,
            actor_of(request, user),
            user.id,
            choice,
            price=price,
            amount=amounts.rounded_up(missing) if body.round_up else amounts.at_least(missing),
            provider_name=body.provider or next(iter(app[PAYMENTS].providers), ""),
            return_to=f"{app[SETTINGS].public_origin}/account/payments/",
        )
        return OrderOpened(payment_id=opened.id)

    opened = await app[IDEMPOTENCY].run(
        user.id, key_of(request), "orders.open", body, OrderOpened, work
    )
    await app[PAYMENTS].start(opened.payment_id)
    return await _found(request, user, opened.payment_id)


@routes.get("/orders/{payment_id}", errors=(NotFound,))
async def own_order(request: web.Request, user: User, payment_id: UUID) -> OrderOut:
    """One of your orders, by the ID of its payment."""
    return await _found(request, user, payment_id)


async def _found(request: web.Request, user: User, payment_id: UUID) -> OrderOut:
    payment = await request.app[PAYMENTS].find(payment_id, user.id)
    found = await request.app[ORDERS].of_payment(payment_id)
    if found is None:
        raise NotFound("This payment has no order.")
    return _out(found, payment)

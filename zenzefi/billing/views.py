"""Operations of the billing API."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from zenzefi.accounts.identity import User
from zenzefi.api.idempotency import HEADER, IDEMPOTENCY, IdempotencyInFlight, key_of
from zenzefi.api.models import Listing
from zenzefi.api.routing import Routes, actor_of
from zenzefi.billing import ledger
from zenzefi.billing.errors import PaymentNotOpen
from zenzefi.billing.payments import PAYMENTS, Payment
from zenzefi.billing.providers.base import CheckoutRefused, ProviderFailed, WebhookRejected
from zenzefi.billing.schemas import (
    BalanceOut,
    MockTopUp,
    MockTopUpOut,
    PaymentCreated,
    PaymentOut,
    PaymentPage,
    TopUp,
    TransactionOut,
    TransactionPage,
    WebhookOut,
)
from zenzefi.billing.statement import STATEMENTS, Transaction
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.errors import NotFound
from zenzefi.http.body import content_of

routes = Routes("Money")


def transaction_out(row: Transaction) -> TransactionOut:
    """The response body for a transaction."""
    return TransactionOut.model_validate(row, from_attributes=True)


def payment_out(payment: Payment) -> PaymentOut:
    """The response body for a payment of the user."""
    return PaymentOut(
        payment_id=payment.id,
        provider=payment.provider,
        payment_url=payment.payment_url if payment.status == "pending" else None,
        amount_znc=payment.amount_znc,
        amount_rub=payment.amount_rub,
        currency=payment.currency,
        reversed_znc=payment.reversed_znc,
        owed_znc=payment.shortfall_znc,
        status=payment.status,
        created_at=payment.created_at,
        updated_at=payment.updated_at,
        expires_at=payment.expires_at,
        credited_at=payment.credited_at,
    )


@routes.get("/currency/balance")
async def balance(user: User) -> BalanceOut:
    """Your balance."""
    return BalanceOut(balance=user.currency_balance)


@routes.get("/currency/transactions")
async def transactions(
    request: web.Request, user: User, query: TransactionPage
) -> Listing[TransactionOut]:
    """Your transactions, newest first."""
    rows, total = await request.app[STATEMENTS].listed(
        user.id, kind=query.transaction_type, limit=query.limit, offset=query.offset
    )
    return Listing[TransactionOut](
        items=[transaction_out(row) for row in rows],
        total=total,
        limit=query.limit,
        offset=query.offset,
    )


@routes.get("/currency/transactions.csv")
async def statement(request: web.Request, user: User) -> web.StreamResponse:
    """Your statement as CSV, oldest first."""
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": 'attachment; filename="transactions.csv"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
    )
    await response.prepare(request)
    async for piece in request.app[STATEMENTS].csv(user.id):
        await response.write(piece)
    await response.write_eof()
    return response


@routes.get("/currency/transactions/{transaction_id}", errors=(NotFound,))
async def transaction(request: web.Request, user: User, transaction_id: UUID) -> TransactionOut:
    """One of your transactions, for its receipt."""
    return transaction_out(await request.app[STATEMENTS].find(user.id, transaction_id))


@routes.post(
    "/currency/purchase",
    status=201,
    errors=(ProviderFailed, CheckoutRefused, IdempotencyInFlight),
    headers=(HEADER,),
)
async def top_up(request: web.Request, user: User, body: TopUp) -> PaymentCreated:
    """Start a payment; the buyer pays at ``payment_url``."""
    payments = request.app[PAYMENTS]

    async def work(connection: AsyncConnection) -> PaymentCreated:
        payment = await payments.open(
            connection,
            actor_of(request, user),
            user.id,
            amount=body.amount_znc,
            return_url=body.return_url,
            provider_name=body.provider,
        )
        return _created(payment)

    opened = await request.app[IDEMPOTENCY].run(
        user.id, key_of(request), "currency.purchase", body, PaymentCreated, work
    )
    # After the transaction, so that no lock is held while the provider is called. start() is
    # idempotent: a retry gets the same response, also after a crash here.
    started = await payments.start(opened.payment_id)
    return opened.model_copy(update={"payment_url": started.payment_url})


def _created(payment: Payment) -> PaymentCreated:
    return PaymentCreated(
        payment_id=payment.id,
        payment_url=payment.payment_url,
        amount_znc=payment.amount_znc,
        amount_rub=payment.amount_rub,
        currency=payment.currency,
        status=payment.status,
    )


@routes.get("/currency/payments")
async def own_payments(request: web.Request, user: User, query: PaymentPage) -> Listing[PaymentOut]:
    """Your payments, newest first."""
    found, total = await request.app[PAYMENTS].listed(
        user_id=user.id, status=query.status, limit=query.limit, offset=query.offset
    )
    return Listing[PaymentOut](
        items=[payment_out(payment) for payment in found],
        total=total,
        limit=query.limit,
        offset=query.offset,
    )


@routes.get("/currency/payments/{payment_id}", errors=(NotFound,))
async def own_payment(request: web.Request, user: User, payment_id: UUID) -> PaymentOut:
    """One of your payments and its status."""
    return payment_out(await request.app[PAYMENTS].find(payment_id, user.id))


@routes.post(
    "/currency/payments/{payment_id}/check", errors=(NotFound, ProviderFailed, CheckoutRefused)
)
async def check_payment(request: web.Request, user: User, payment_id: UUID) -> PaymentOut:
    """Query the payment provider for the current status.

    Works for every payment that was not credited yet, including expired and cancelled ones. Safe to
    repeat.
    """
    return payment_out(await request.app[PAYMENTS].check_now(payment_id, user.id))


@routes.post("/currency/payments/{payment_id}/cancel", errors=(NotFound, PaymentNotOpen))
async def cancel_payment(request: web.Request, user: User, payment_id: UUID) -> PaymentOut:
    """Cancel a pending payment."""
    return payment_out(
        await request.app[PAYMENTS].cancel(actor_of(request, user), payment_id, user.id)
    )


@routes.post(
    "/currency/mock-purchase",
    status=201,
    errors=(NotFound, IdempotencyInFlight),
    headers=(HEADER,),
)
async def mock_top_up(request: web.Request, user: User, body: MockTopUp) -> MockTopUpOut:
    """Credit money without a payment (requires the mock provider)."""
    payments = request.app[PAYMENTS]

    async def work(connection: AsyncConnection) -> MockTopUpOut:
        paid = await payments.mock_payment(
            connection, actor_of(request, user), user.id, body.amount
        )
        return MockTopUpOut(
            payment_id=paid.id,
            amount=body.amount,
            new_balance=await ledger.balance(connection, user.id),
        )

    return await request.app[IDEMPOTENCY].run(
        user.id, key_of(request), "currency.mock-purchase", body, MockTopUpOut, work
    )


@routes.post("/webhooks/payment/{provider}", errors=(NotFound, WebhookRejected), security="none")
async def webhook(request: web.Request) -> WebhookOut:
    """Payment provider webhook.

    The signature is verified over the raw body. Repeated events change nothing.
    """
    outcome = await request.app[PAYMENTS].webhook(
        request.match_info["provider"], request.headers, await content_of(request)
    )
    return WebhookOut(outcome=outcome)

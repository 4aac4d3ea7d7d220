"""Payments: opening, starting, checking, cancelling and refunding.

``settlement`` applies the events that providers report.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID, uuid4

from aiohttp import web
from sqlalchemy import func, select, update

from zenzefi.audit.log import Actor, record
from zenzefi.billing import ledger, repository, settlement
from zenzefi.billing.amounts import PaymentAmounts
from zenzefi.billing.errors import PaymentNotOpen
from zenzefi.billing.models import orders, payments
from zenzefi.billing.providers.base import (
    Checkout,
    CheckoutRefused,
    Event,
    NotRefundable,
    Outcome,
    Provider,
    ProviderFailed,
    WebhookRejected,
)
from zenzefi.billing.repository import Payment, PaymentStatus, payment_of
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import Money, utcnow
from zenzefi.db.engine import Database
from zenzefi.errors import GateError, Invalid, NotFound
from zenzefi.settings import Settings

__all__ = ["PAYMENTS", "Payment", "PaymentStatus", "Payments", "Refund"]

log = logging.getLogger(__name__)

_p = payments.c
_PROVIDER_TIMEOUT = 30.0  # seconds for one call of a provider, above the timeouts of its client


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund to be requested from a provider. ``key`` identifies it in retries."""

    payment_id: UUID
    provider: str
    charge: str
    amount: Decimal
    key: str


class Payments:
    """The service of payments."""

    def __init__(
        self, settings: Settings, database: Database, providers: Mapping[str, Provider]
    ) -> None:
        self.currency = settings.payment_currency
        self.amounts = PaymentAmounts(settings)
        self._default_return = str(settings.public_origin)
        self._database = database
        self.providers = providers
        self.on_credit: list[settlement.OnCredit] = []

    def provider(self, name: str | None) -> Provider:
        """The provider of this name, ``None``: the first. Raises ``Invalid`` if not configured."""
        name = next(iter(self.providers), None) if name is None else name
        chosen = None if name is None else self.providers.get(name)
        if chosen is None:
            raise Invalid.field(
                "body",
                "provider",
                type="unknown_provider",
                msg=f"Unknown payment provider. Configured: {', '.join(self.providers) or 'none'}",
                input=name,
            )
        return chosen

    # --- opening

    async def open(
        self,
        connection: AsyncConnection,
        actor: Actor,
        user_id: UUID,
        *,
        amount: Decimal,
        return_url: str | None,
        provider_name: str | None = None,
    ) -> Payment:
        """Insert a pending payment in the caller's transaction; :meth:`start` creates its checkout.

        ``amount`` is in ZNC. Raises ``Invalid`` for a provider that is not configured, and for an
        amount whose price is out of range.
        """
        provider = self.provider(provider_name)
        payment_id = uuid4()
        await connection.execute(
            payments.insert().values(
                id=payment_id,
                user_id=user_id,
                provider=provider.name,
                amount_znc=amount,
                amount_rub=self.amounts.cost(amount),
                currency=self.currency,
                status=PaymentStatus.PENDING.value,
                return_url=return_url or self._default_return,
            )
        )
        await record(
            connection, actor, "payment.opened", "payment", payment_id, amount=f"{amount:.2f}"
        )
        return await repository.one(connection, _p.id == payment_id)

    async def start(self, payment_id: UUID) -> Payment:
        """Create the checkout of a pending payment at its provider.

        Idempotent: a repeated call returns the existing checkout. Raises ``ProviderFailed``, after
        which the payment is still pending and the call can be repeated, and ``CheckoutRefused``,
        after which the payment has failed.
        """
        payment = await self.find(payment_id)
        if payment.payment_url is not None:
            return payment
        if payment.status == PaymentStatus.FAILED:
            raise CheckoutRefused
        if payment.status != PaymentStatus.PENDING:
            return payment
        try:
            async with _provider_call(payment.provider):
                created = await self._provider_of(payment.provider).create_checkout(
                    Checkout(
                        payment_id=payment.id,
                        user_id=payment.user_id,
                        amount=payment.amount_rub,
                        currency=payment.currency,
                        description=f"{payment.amount_znc:.2f} {ledger.CURRENCY}",
                        return_url=payment.return_url or self._default_return,
                    )
                )
        except CheckoutRefused:
            async with self._database.begin() as connection:
                await repository.change(connection, payment_id, status=PaymentStatus.FAILED.value)
            raise
        async with self._database.begin() as connection:
            await connection.execute(
                update(payments)
                .where(_p.id == payment_id, _p.payment_url.is_(None))
                .values(
                    reference=created.reference,
                    payment_url=created.url,
                    expires_at=created.expires_at,
                    updated_at=utcnow(),
                )
            )
            return await repository.one(connection, _p.id == payment_id)

    async def mock_payment(
        self, connection: AsyncConnection, actor: Actor, user_id: UUID, amount: Decimal
    ) -> Payment:
        """A payment by the provider ``mock``, paid at once, all in the caller's transaction.

        ``amount`` is in ZNC. Raises ``NotFound`` unless that provider is configured.
        """
        if "mock" not in self.providers:
            raise NotFound
        opened = await self.open(
            connection, actor, user_id, amount=amount, return_url=None, provider_name="mock"
        )
        return await self.pay_mock(connection, opened)

    async def pay_mock(self, connection: AsyncConnection, opened: Payment) -> Payment:
        """Pay an open payment of the provider ``mock``, in the caller's transaction."""
        paid = Event(
            id=f"mock-purchase-{opened.id}",
            type="mock-purchase",
            outcome=Outcome.PAID,
            payment_id=opened.id,
            charge=f"mock-charge-{opened.id}",
            amount=opened.amount_rub,
            currency=opened.currency,
        )
        await settlement.apply(connection, "mock", paid, on_credit=self.on_credit)
        return await repository.one(connection, _p.id == opened.id)

    # --- reading

    async def find(self, payment_id: UUID, user_id: UUID | None = None) -> Payment:
        """A payment, of this user if given. Raises ``NotFound``."""
        where = _p.id == payment_id
        if user_id is not None:
            where &= _p.user_id == user_id
        async with self._database.read() as connection:
            return await repository.one(connection, where)

    async def listed(
        self,
        *,
        user_id: UUID | None = None,
        status: str | None = None,
        limit: int,
        offset: int,
    ) -> tuple[list[Payment], int]:
        """A page of payments, newest first, and the total count."""
        query, count = select(payments), select(func.count()).select_from(payments)
        if user_id is not None:
            query, count = query.where(_p.user_id == user_id), count.where(_p.user_id == user_id)
        if status is not None:
            query, count = query.where(_p.status == status), count.where(_p.status == status)
        query = query.order_by(_p.created_at.desc(), _p.id).limit(limit).offset(offset)
        async with self._database.read() as connection:
            total = int((await connection.execute(count)).scalar_one())
            return [payment_of(row) for row in await connection.execute(query)], total

    async def owed(self, user_id: UUID, connection: AsyncConnection | None = None) -> Decimal:
        """The debt of this account from reversed payments, in ZNC.

        It is read in the caller's transaction if there is one.
        """
        if connection is None:
            async with self._database.read() as reader:
                return await self.owed(user_id, reader)
        query = select(func.coalesce(func.sum(_p.shortfall_znc, type_=Money), 0, type_=Money))
        found = (await connection.execute(query.where(_p.user_id == user_id))).scalar_one()
        return Decimal(found)

    async def check_now(self, payment_id: UUID, user_id: UUID | None = None) -> Payment:
        """Query the provider for the payment's status instead of waiting for its webhook.

        Every payment that was not credited is queried, including expired and cancelled ones: the
        buyer may have paid nevertheless. Raises ``NotFound``, ``ProviderFailed``.
        """
        payment = await self.find(payment_id, user_id)
        if payment.credited_at is not None:
            return payment
        if payment.reference is None:  # the provider was unavailable when it was opened
            is_pending = payment.status == PaymentStatus.PENDING
            return await self.start(payment_id) if is_pending else payment
        async with _provider_call(payment.provider):
            event = await self._provider_of(payment.provider).fetch_status(payment.reference)
        await self.apply(payment.provider, event)
        return await self.find(payment_id, user_id)

    # --- cancelling, refunding, confirming

    async def cancel(self, actor: Actor, payment_id: UUID, user_id: UUID) -> Payment:
        """Cancel a pending payment and its order. If the buyer pays nevertheless, the payment is
        credited.

        Raises ``NotFound``, ``PaymentNotOpen``.
        """
        await self.find(payment_id, user_id)
        async with self._database.begin() as connection:
            done = await connection.execute(
                update(payments)
                .where(_p.id == payment_id, _p.status == PaymentStatus.PENDING.value)
                .values(status=PaymentStatus.CANCELLED.value, updated_at=utcnow())
            )
            if done.rowcount != 1:
                raise PaymentNotOpen
            await connection.execute(
                update(orders)
                .where(orders.c.payment_id == payment_id, orders.c.status == "waiting")
                .values(status="cancelled", updated_at=utcnow())
            )
            await record(connection, actor, "payment.cancelled", "payment", payment_id)
            return await repository.one(connection, _p.id == payment_id)

    async def refund(self, actor: Actor, payment_id: UUID) -> None:
        """Refund the rest of a payment at its provider.

        Raises ``NotFound``, ``NotRefundable``, ``ProviderFailed``.
        """
        async with self._database.begin() as connection:
            _, refund = await self.request_refund(connection, actor, payment_id)
        await self.send_refund(refund)

    async def request_refund(
        self, connection: AsyncConnection, actor: Actor, payment_id: UUID
    ) -> tuple[Payment, Refund]:
        """Record the request for a refund in the caller's transaction; :meth:`send_refund` follows.

        Raises ``NotFound``, and ``NotRefundable`` if nothing is left to refund.
        """
        payment = await repository.one(connection, _p.id == payment_id)
        state = await settlement.state_of(connection, payment)
        left = payment.amount_rub - state.reversed_rub
        if payment.charge is None or payment.credited_at is None or left <= 0:
            raise NotRefundable
        await record(
            connection, actor, "payment.refund_asked", "payment", payment_id, amount=f"{left:.2f}"
        )
        # The key stays the same until a refund took effect or failed, so that repeated requests
        # before that are one refund at the provider.
        key = f"{payment_id}-{state.reversed_rub:.2f}-{state.failures}"
        return payment, Refund(payment_id, payment.provider, payment.charge, left, key)

    async def send_refund(self, refund: Refund) -> None:
        """Request a refund from the provider, once per key; its event updates the ledger.

        Raises ``NotRefundable``, ``ProviderFailed``.
        """
        async with _provider_call(refund.provider):
            provider = self._provider_of(refund.provider)
            event = await provider.refund(refund.charge, refund.amount, refund.key)
        if event is not None:
            await self.apply(refund.provider, event)

    async def confirm(self, connection: AsyncConnection, actor: Actor, payment_id: UUID) -> Payment:
        """Credit a manual payment, once, after an administrator has received the money.

        Runs in the caller's transaction. Raises ``NotFound``, and ``PaymentNotOpen`` for a payment
        of another provider.
        """
        payment = await repository.one(connection, _p.id == payment_id)
        if payment.provider != "manual":
            raise PaymentNotOpen("Only payments of the manual provider can be confirmed.")
        outcome = await settlement.apply(
            connection,
            payment.provider,
            Event(
                id=f"confirmed-{payment_id}",
                type="confirmed by an administrator",
                outcome=Outcome.PAID,
                payment_id=payment_id,
                amount=payment.amount_rub,
                currency=payment.currency,
            ),
            actor,
            self.on_credit,
        )
        if outcome == settlement.CREDITED:
            await record(connection, actor, "payment.confirmed", "payment", payment_id)
        return await repository.one(connection, _p.id == payment_id)

    # --- events of providers

    async def webhook(self, name: str, headers: Mapping[str, str], raw: bytes) -> str:
        """Verify and apply one webhook. Returns a short description of the effect.

        Raises ``NotFound`` for a provider that is not configured, and ``WebhookRejected``.
        """
        provider = self.providers.get(name)
        if provider is None:
            raise NotFound
        try:
            event = provider.verify_webhook(headers, raw)
        except GateError:
            raise
        except Exception as error:  # a provider's package fails on data that anyone can send
            log.exception("malformed webhook: provider=%s", name)
            raise WebhookRejected("This webhook is malformed.") from error
        return await self.apply(name, event)

    async def apply(self, provider: str, event: Event) -> str:
        """Apply one event, once, in a separate transaction. Returns a description of the effect."""
        async with self._database.begin() as connection:
            return await settlement.apply(connection, provider, event, on_credit=self.on_credit)

    def _provider_of(self, name: str) -> Provider:
        provider = self.providers.get(name)
        if provider is None:
            raise ProviderFailed("This payment provider is no longer configured.")
        return provider


@asynccontextmanager
async def _provider_call(name: str) -> AsyncIterator[None]:
    """Limit the time of a provider's call; other exceptions than ours become ``ProviderFailed``."""
    try:
        async with asyncio.timeout(_PROVIDER_TIMEOUT):
            yield
    except GateError:
        raise
    except Exception as error:
        log.exception("payment provider failed: provider=%s", name)
        raise ProviderFailed from error


PAYMENTS: web.AppKey[Payments] = web.AppKey("payments", Payments)

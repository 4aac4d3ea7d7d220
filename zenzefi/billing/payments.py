"""Payments: opened at a provider, looked at, checked, given up and refunded.

What the providers say about them is applied by ``settlement``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from uuid import UUID, uuid4

from aiohttp import web
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from zenzefi.audit.log import Actor, record
from zenzefi.billing import ledger, repository, settlement
from zenzefi.billing.errors import PaymentNotOpen
from zenzefi.billing.models import payments
from zenzefi.billing.payment_state import CURRENCY
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
from zenzefi.db.base import Money, utcnow
from zenzefi.db.engine import Database
from zenzefi.errors import GateError, Invalid, NotFound
from zenzefi.settings import Settings

__all__ = ["PAYMENTS", "Payment", "PaymentStatus", "Payments", "Refund"]

log = logging.getLogger(__name__)

_p = payments.c
_CENT = Decimal("0.01")
_MOST_RUB = Decimal(10) ** 12
_PATIENCE = 30.0  # seconds for one call of a provider, whatever its own client allows


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund to be asked of a provider. ``key``: the same for the same refund."""

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
        self._rate = settings.znc_to_rub_rate
        self._default_return = str(settings.public_origin)
        self._database = database
        self.providers = providers

    def provider(self, name: str | None) -> Provider:
        """The provider of that name, or the first. Raises ``Invalid`` for one not switched on."""
        chosen = next(iter(self.providers.values()), None) if name is None else None
        if name is not None:
            chosen = self.providers.get(name)
        if chosen is None:
            raise Invalid.field(
                "body",
                "provider",
                type="unknown_provider",
                msg=f"This gate takes payments by: {', '.join(self.providers) or 'nobody'}",
                input=name,
            )
        return chosen

    # --- opening one

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
        """A pending payment, inside the caller's transaction. :meth:`start` makes its checkout.

        Raises ``Invalid`` for a provider not switched on, or an amount that no rouble pays for.
        """
        provider = self.provider(provider_name)
        payment_id = uuid4()
        await connection.execute(
            payments.insert().values(
                id=payment_id,
                user_id=user_id,
                provider=provider.name,
                amount_znc=amount,
                amount_rub=self._to_rub(amount),
                status=PaymentStatus.PENDING.value,
                return_url=return_url or self._default_return,
            )
        )
        await record(
            connection, actor, "payment.opened", "payment", payment_id, amount=f"{amount:.2f}"
        )
        return await repository.one(connection, _p.id == payment_id)

    def _to_rub(self, amount: Decimal) -> Decimal:
        rub = (amount * self._rate).quantize(_CENT, ROUND_HALF_UP)
        if not 0 < rub < _MOST_RUB:
            raise Invalid.field(
                "body",
                "amount_znc",
                type="amount_out_of_range",
                msg=f"costs {rub} {CURRENCY}, which nobody can pay",
                input=f"{amount:.2f}",
            )
        return rub

    async def start(self, payment_id: UUID) -> Payment:
        """Have the provider make the checkout of a pending payment, once.

        Asked again (a retry under its Idempotency-Key) it goes on where it stopped. Raises
        ``ProviderFailed``: the payment then stays pending and can be started again; and
        ``CheckoutRefused``: it has then failed.
        """
        payment = await self.find(payment_id)
        if payment.payment_url is not None:
            return payment
        if payment.status == PaymentStatus.FAILED:
            raise CheckoutRefused
        if payment.status != PaymentStatus.PENDING:
            return payment
        try:
            async with _asking(payment.provider):
                created = await self._own(payment.provider).create_checkout(
                    Checkout(
                        payment_id=payment.id,
                        user_id=payment.user_id,
                        amount=payment.amount_rub,
                        currency=CURRENCY,
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

    async def pretend(
        self, connection: AsyncConnection, actor: Actor, user_id: UUID, amount: Decimal
    ) -> Payment:
        """A payment by ``mock``, paid at once: all of it inside the caller's transaction.

        Raises ``NotFound`` where that provider is not switched on.
        """
        if "mock" not in self.providers:
            raise NotFound
        opened = await self.open(
            connection, actor, user_id, amount=amount, return_url=None, provider_name="mock"
        )
        paid = Event(
            id=f"mock-purchase-{opened.id}",
            type="mock-purchase",
            outcome=Outcome.PAID,
            payment_id=opened.id,
            charge=f"mock-charge-{opened.id}",
            amount=opened.amount_rub,
            currency=CURRENCY,
        )
        await settlement.apply(connection, "mock", paid)
        return await repository.one(connection, _p.id == opened.id)

    # --- looking

    async def find(self, payment_id: UUID, user_id: UUID | None = None) -> Payment:
        """One payment, of this user where one is given. Raises ``NotFound``."""
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
        """Payments, newest first, and how many there are in all."""
        query, count = select(payments), select(func.count()).select_from(payments)
        if user_id is not None:
            query, count = query.where(_p.user_id == user_id), count.where(_p.user_id == user_id)
        if status is not None:
            query, count = query.where(_p.status == status), count.where(_p.status == status)
        query = query.order_by(_p.created_at.desc(), _p.id).limit(limit).offset(offset)
        async with self._database.read() as connection:
            total = int((await connection.execute(count)).scalar_one())
            return [payment_of(row) for row in await connection.execute(query)], total

    async def owed(self, user_id: UUID) -> Decimal:
        """What reversed payments left owed by this account."""
        query = select(func.coalesce(func.sum(_p.shortfall_znc, type_=Money), 0, type_=Money))
        async with self._database.read() as connection:
            found = (await connection.execute(query.where(_p.user_id == user_id))).scalar_one()
        return Decimal(found)

    async def check_now(self, payment_id: UUID, user_id: UUID | None = None) -> Payment:
        """Ask the provider instead of waiting for its webhook.

        Whatever the status, as long as nothing was credited: the money of a payment that lapsed
        here, or was given up, may have come all the same. Raises ``NotFound``, ``ProviderFailed``.
        """
        payment = await self.find(payment_id, user_id)
        if payment.credited_at is not None:
            return payment
        if payment.reference is None:  # its checkout was never made: the provider was away
            with_url = payment.status == PaymentStatus.PENDING
            return await self.start(payment_id) if with_url else payment
        async with _asking(payment.provider):
            event = await self._own(payment.provider).fetch_status(payment.reference)
        await self.apply(payment.provider, event)
        return await self.find(payment_id, user_id)

    # --- ending one

    async def cancel(self, actor: Actor, payment_id: UUID, user_id: UUID) -> Payment:
        """Give up a pending payment. Should the money come all the same, it is credited."""
        await self.find(payment_id, user_id)
        async with self._database.begin() as connection:
            done = await connection.execute(
                update(payments)
                .where(_p.id == payment_id, _p.status == PaymentStatus.PENDING.value)
                .values(status=PaymentStatus.CANCELLED.value, updated_at=utcnow())
            )
            if done.rowcount != 1:
                raise PaymentNotOpen
            await record(connection, actor, "payment.cancelled", "payment", payment_id)
            return await repository.one(connection, _p.id == payment_id)

    async def refund(self, actor: Actor, payment_id: UUID) -> None:
        """Have the provider give back all that is left.

        Raises ``NotFound``, ``NotRefundable``, ``ProviderFailed``.
        """
        async with self._database.begin() as connection:
            _, refund = await self.ask_refund(connection, actor, payment_id)
        await self.send_refund(refund)

    async def ask_refund(
        self, connection: AsyncConnection, actor: Actor, payment_id: UUID
    ) -> tuple[Payment, Refund]:
        """Note in the caller's transaction that a refund is wanted; :meth:`send_refund` follows.

        Raises ``NotFound``, and ``NotRefundable`` where nothing is left to be given back.
        """
        payment = await repository.one(connection, _p.id == payment_id)
        stands = await settlement.told(connection, payment)
        left = payment.amount_rub - stands.reversed_rub
        if payment.charge is None or payment.credited_at is None or left <= 0:
            raise NotRefundable
        await record(
            connection, actor, "payment.refund_asked", "payment", payment_id, amount=f"{left:.2f}"
        )
        # Asked twice before the answer it is one refund; a new one after another part came back,
        # or after one that failed.
        key = f"{payment_id}-{stands.reversed_rub:.2f}-{stands.failures}"
        return payment, Refund(payment_id, payment.provider, payment.charge, left, key)

    async def send_refund(self, refund: Refund) -> None:
        """Have the provider do it, once for the same key; the ledger follows with its event.

        Raises ``NotRefundable``, ``ProviderFailed``.
        """
        async with _asking(refund.provider):
            provider = self._own(refund.provider)
            event = await provider.refund(refund.charge, refund.amount, refund.key)
        if event is not None:
            await self.apply(refund.provider, event)

    async def confirm(self, connection: AsyncConnection, actor: Actor, payment_id: UUID) -> Payment:
        """An administrator says that the money of a manual payment has come: credited once.

        Inside the caller's transaction. Raises ``NotFound``, and ``PaymentNotOpen`` for one of
        another provider.
        """
        payment = await repository.one(connection, _p.id == payment_id)
        if payment.provider != "manual":
            raise PaymentNotOpen("Only manual payments are confirmed by hand.")
        outcome = await settlement.apply(
            connection,
            payment.provider,
            Event(
                id=f"confirmed-{payment_id}",
                type="confirmed by an administrator",
                outcome=Outcome.PAID,
                payment_id=payment_id,
                amount=payment.amount_rub,
                currency=CURRENCY,
            ),
            actor,
        )
        if outcome == "credited":
            await record(connection, actor, "payment.confirmed", "payment", payment_id)
        return await repository.one(connection, _p.id == payment_id)

    # --- what providers say

    async def webhook(self, name: str, headers: Mapping[str, str], raw: bytes) -> str:
        """Verify and apply one webhook; what came of it, in a word.

        Raises ``NotFound`` for a provider not switched on, ``WebhookRejected`` (400).
        """
        provider = self.providers.get(name)
        if provider is None:
            raise NotFound
        try:
            event = provider.verify_webhook(headers, raw)
        except GateError:
            raise
        except Exception as error:  # a provider's package stumbles over what a stranger sent
            log.exception("provider %s can't read a webhook", name)
            raise WebhookRejected("This webhook can't be understood.") from error
        return await self.apply(name, event)

    async def apply(self, provider: str, event: Event) -> str:
        """Apply one event, once, in a transaction of its own; what came of it."""
        async with self._database.begin() as connection:
            return await settlement.apply(connection, provider, event)

    def _own(self, name: str) -> Provider:
        provider = self.providers.get(name)
        if provider is None:
            raise ProviderFailed("This gate does not work with that payment service any more.")
        return provider


@asynccontextmanager
async def _asking(name: str) -> AsyncIterator[None]:
    """Whatever a provider's package raises, and however long it takes: the domain's errors."""
    try:
        async with asyncio.timeout(_PATIENCE):
            yield
    except GateError:
        raise
    except Exception as error:
        log.exception("provider %s failed", name)
        raise ProviderFailed from error


PAYMENTS: web.AppKey[Payments] = web.AppKey("payments", Payments)

"""Payments: from a pending checkout to credited ZNC and, sometimes, back.

Every event of a provider is applied in one transaction with its row in ``payment_events`` (unique
by provider and event id), so a replay changes nothing. What an event means depends only on the
payment's own row, never on the order of arrival: a refund that comes before its payment is kept
on the row and subtracted when the payment comes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web
from sqlalchemy import ColumnElement, Row, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from zenzefi.accounts.models import users
from zenzefi.audit.log import GATE, Actor, record
from zenzefi.billing import ledger
from zenzefi.billing.ledger import ZERO, Kind
from zenzefi.billing.models import payment_events, payments
from zenzefi.billing.providers.base import Checkout, Event, NotRefundable, Outcome, Provider
from zenzefi.config import Settings
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.errors import Conflict, Invalid, NotFound

log = logging.getLogger(__name__)

REAL_CURRENCY = "RUB"
_p = payments.c
_CENT = Decimal("0.01")


class PaymentNotOpen(Conflict):
    """The payment is no longer pending."""

    code = "payment_not_open"
    default = "This payment is not pending any more."


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment as its owner and administrators see it."""

    id: UUID
    user_id: UUID
    provider: str
    amount_znc: Decimal
    amount_rub: Decimal
    status: str
    reference: str | None
    charge: str | None
    payment_url: str | None
    return_url: str | None
    reversed_znc: Decimal
    shortfall_znc: Decimal
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    credited_at: datetime | None


_FIELDS = tuple(Payment.__dataclass_fields__)


def _payment(row: Row[Any]) -> Payment:
    return Payment(**{name: row._mapping[name] for name in _FIELDS})


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
        """A pending payment, inside the caller's transaction. :meth:`start` makes its checkout."""
        provider = self.provider(provider_name)
        payment_id = uuid4()
        await connection.execute(
            payments.insert().values(
                id=payment_id,
                user_id=user_id,
                provider=provider.name,
                amount_znc=amount,
                amount_rub=(amount * self._rate).quantize(_CENT, ROUND_HALF_UP),
                status="pending",
                return_url=return_url or self._default_return,
            )
        )
        await record(
            connection, actor, "payment.opened", "payment", payment_id, amount=f"{amount:.2f}"
        )
        return await _one(connection, _p.id == payment_id)

    async def start(self, payment_id: UUID) -> Payment:
        """Have the provider make the checkout of a pending payment, once.

        Asked again (a retry under its Idempotency-Key) it goes on where it stopped. Raises
        ``ProviderFailed``; the payment then stays pending and can be started again.
        """
        async with self._database.read() as connection:
            payment = await _one(connection, _p.id == payment_id)
        if payment.payment_url is not None or payment.status != "pending":
            return payment
        created = await self.provider(payment.provider).create_checkout(
            Checkout(
                payment_id=payment.id,
                user_id=payment.user_id,
                amount=payment.amount_rub,
                currency=REAL_CURRENCY,
                description=f"{payment.amount_znc:.2f} {ledger.CURRENCY}",
                return_url=payment.return_url or self._default_return,
            )
        )
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
            return await _one(connection, _p.id == payment_id)

    # --- looking

    async def find(self, payment_id: UUID, user_id: UUID | None = None) -> Payment:
        """One payment, of this user where one is given. Raises ``NotFound``."""
        where = _p.id == payment_id
        if user_id is not None:
            where &= _p.user_id == user_id
        async with self._database.read() as connection:
            return await _one(connection, where)

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
            return [_payment(row) for row in await connection.execute(query)], total

    async def check_now(self, payment_id: UUID, user_id: UUID | None = None) -> Payment:
        """Ask the provider instead of waiting for its webhook."""
        payment = await self.find(payment_id, user_id)
        if payment.status == "pending" and payment.reference is not None:
            event = await self.provider(payment.provider).fetch_status(payment.reference)
            if event.outcome is not Outcome.NOTHING:
                await self.apply(payment.provider, event)
        return await self.find(payment_id, user_id)

    async def cancel(self, actor: Actor, payment_id: UUID, user_id: UUID) -> Payment:
        """Give up a pending payment. Should the money come all the same, it is credited."""
        await self.find(payment_id, user_id)
        async with self._database.begin() as connection:
            done = await connection.execute(
                update(payments)
                .where(_p.id == payment_id, _p.status == "pending")
                .values(status="cancelled", updated_at=utcnow())
            )
            if done.rowcount != 1:
                raise PaymentNotOpen
            await record(connection, actor, "payment.cancelled", "payment", payment_id)
            return await _one(connection, _p.id == payment_id)

    async def refund(self, actor: Actor, payment_id: UUID) -> Payment:
        """Have the provider give back all that is left; the ledger follows with its event."""
        payment = await self.find(payment_id)
        left = payment.amount_rub - self._to_rub(payment.reversed_znc)
        if payment.charge is None or payment.credited_at is None or left <= 0:
            raise NotRefundable
        await self.provider(payment.provider).refund(payment.charge, left, str(payment_id))
        async with self._database.begin() as connection:
            await record(connection, actor, "payment.refund_asked", "payment", payment_id)
        return await self.find(payment_id)

    async def confirm(self, actor: Actor, payment_id: UUID) -> Payment:
        """An administrator says that the money of a manual payment has come.

        Raises ``NotFound``, and ``PaymentNotOpen`` for one of another provider.
        """
        payment = await self.find(payment_id)
        if payment.provider != "manual":
            raise PaymentNotOpen("Only manual payments are confirmed by hand.")
        outcome = await self.apply(
            payment.provider,
            Event(
                id=f"confirmed-{payment_id}",
                type="confirmed by an administrator",
                outcome=Outcome.PAID,
                payment_id=payment_id,
                amount=payment.amount_rub,
                currency=REAL_CURRENCY,
            ),
        )
        if outcome == "credited":
            async with self._database.begin() as connection:
                await record(connection, actor, "payment.confirmed", "payment", payment_id)
        return await self.find(payment_id)

    # --- what providers say

    async def webhook(self, name: str, headers: Mapping[str, str], raw: bytes) -> str:
        """Verify and apply one webhook; what came of it, in a word.

        Raises ``NotFound`` for a provider not switched on, ``WebhookRejected`` (400).
        """
        provider = self.providers.get(name)
        if provider is None:
            raise NotFound
        return await self.apply(name, provider.verify_webhook(headers, raw))

    async def apply(self, provider: str, event: Event) -> str:
        """Apply one event, once; what came of it."""
        insert = insert_sqlite if self._database.dialect == "sqlite" else insert_postgresql
        async with self._database.begin() as connection:
            event_row = uuid4()
            fresh = await connection.execute(
                insert(payment_events)
                .values(
                    id=event_row,
                    provider=provider,
                    event_id=event.id,
                    event_type=event.type,
                    outcome="received",
                )
                .on_conflict_do_nothing()
            )
            if fresh.rowcount != 1:
                return "replay"
            payment = await self._locked(connection, provider, event)
            if payment is None:
                outcome = "unknown payment"
            else:
                outcome = await self._apply(connection, payment, event)
            await connection.execute(
                update(payment_events)
                .where(payment_events.c.id == event_row)
                .values(outcome=outcome, payment_id=None if payment is None else payment.id)
            )
            return outcome

    async def _locked(
        self, connection: AsyncConnection, provider: str, event: Event
    ) -> Payment | None:
        for column, value in (
            (_p.id, event.payment_id),
            (_p.reference, event.reference),
            (_p.charge, event.charge),
        ):
            if value is None:
                continue
            row = (
                await connection.execute(
                    select(payments)
                    .where(_p.provider == provider, column == value)
                    .with_for_update()
                )
            ).first()
            if row is not None:
                return _payment(row)
        return None

    async def _apply(self, connection: AsyncConnection, payment: Payment, event: Event) -> str:
        match event.outcome:
            case Outcome.PAID:
                return await self._paid(connection, payment, event)
            case Outcome.FAILED | Outcome.EXPIRED | Outcome.CANCELLED:
                if payment.status != "pending":
                    return f"ignored: {payment.status}"
                await _set(connection, payment.id, status=event.outcome.value)
                return event.outcome.value
            case Outcome.REFUNDED:
                back = payment.amount_znc
                if event.amount is not None and event.amount < payment.amount_rub:
                    back = self._to_znc(event.amount)
                return await self._reverse(connection, payment, back, "refunded", event)
            case Outcome.DISPUTED:
                return await self._reverse(
                    connection, payment, payment.amount_znc, "disputed", event
                )
            case Outcome.DISPUTE_WON:
                return await self._give_back(connection, payment)
        return "nothing to do"

    async def _paid(self, connection: AsyncConnection, payment: Payment, event: Event) -> str:
        if payment.credited_at is not None:
            return "ignored: credited already"
        if event.amount != payment.amount_rub or event.currency != REAL_CURRENCY:
            log.error(
                "payment %s: paid %s %s instead of %s %s; not credited",
                *(payment.id, event.amount, event.currency, payment.amount_rub, REAL_CURRENCY),
            )
            await _set(connection, payment.id, status="failed")
            await record(
                connection,
                GATE,
                "payment.amount_mismatch",
                "payment",
                payment.id,
                paid=str(event.amount),
                currency=event.currency,
            )
            return "refused: amount or currency differs"
        credit = payment.amount_znc - payment.reversed_znc
        await _set(
            connection,
            payment.id,
            status="succeeded" if payment.reversed_znc == 0 else payment.status,
            charge=event.charge or payment.charge,
            credited_at=utcnow(),
        )
        if credit > 0:
            await ledger.move(
                connection,
                payment.user_id,
                credit,
                Kind.DEPOSIT,
                f"Top-up by {payment.provider}",
                payment_id=payment.id,
            )
        await record(
            connection, GATE, "payment.credited", "payment", payment.id, amount=f"{credit:.2f}"
        )
        return "credited"

    async def _reverse(
        self,
        connection: AsyncConnection,
        payment: Payment,
        back: Decimal,
        status: str,
        event: Event,
    ) -> str:
        """Take back up to ``back`` in all; what the balance does not hold is noted as missing."""
        more = min(back, payment.amount_znc) - payment.reversed_znc
        if more <= 0:
            return "ignored: reversed already"
        whole = payment.reversed_znc + more == payment.amount_znc
        taken = ZERO
        if payment.credited_at is not None:
            taken = min(more, await _balance_locked(connection, payment.user_id))
            if taken > 0:
                await ledger.move(
                    connection,
                    payment.user_id,
                    -taken,
                    Kind.ADJUSTMENT,
                    f"Payment by {payment.provider} {status}",
                    payment_id=payment.id,
                )
        missing = more - taken if payment.credited_at is not None else ZERO
        await _set(
            connection,
            payment.id,
            reversed_znc=payment.reversed_znc + more,
            shortfall_znc=payment.shortfall_znc + missing,
            status=status if whole else payment.status,
            charge=payment.charge or event.charge,
        )
        await record(
            connection,
            GATE,
            f"payment.{status}",
            "payment",
            payment.id,
            taken=f"{taken:.2f}",
            missing=f"{missing:.2f}",
        )
        return status

    async def _give_back(self, connection: AsyncConnection, payment: Payment) -> str:
        """The provider decided a dispute for us: what was taken for it returns."""
        if payment.status != "disputed" or payment.credited_at is None:
            return f"ignored: {payment.status}"
        taken = payment.reversed_znc - payment.shortfall_znc
        await _set(
            connection, payment.id, status="succeeded", reversed_znc=ZERO, shortfall_znc=ZERO
        )
        if taken > 0:
            await ledger.move(
                connection,
                payment.user_id,
                taken,
                Kind.ADJUSTMENT,
                "Dispute decided for you",
                payment_id=payment.id,
            )
        await record(connection, GATE, "payment.dispute_won", "payment", payment.id)
        return "dispute won"

    def _to_rub(self, znc: Decimal) -> Decimal:
        return (znc * self._rate).quantize(_CENT, ROUND_HALF_UP)

    def _to_znc(self, rub: Decimal) -> Decimal:
        return (rub / self._rate).quantize(_CENT, ROUND_HALF_UP)


async def _one(connection: AsyncConnection, where: ColumnElement[bool]) -> Payment:
    row = (await connection.execute(select(payments).where(where))).one_or_none()
    if row is None:
        raise NotFound("There is no such payment.")
    return _payment(row)


async def _set(connection: AsyncConnection, payment_id: UUID, **values: Any) -> None:
    await connection.execute(
        update(payments).where(_p.id == payment_id).values(**values, updated_at=utcnow())
    )


async def _balance_locked(connection: AsyncConnection, user_id: UUID) -> Decimal:
    """The balance, held until the end of the transaction (SQLite has one writer anyway)."""
    found: Decimal = (
        await connection.execute(
            select(users.c.currency_balance).where(users.c.id == user_id).with_for_update()
        )
    ).scalar_one()
    return found


PAYMENTS: web.AppKey[Payments] = web.AppKey("payments", Payments)

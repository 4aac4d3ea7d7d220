"""Settlement: what payment services say becomes money, and sometimes the reverse.

Each event is applied in one transaction with its row in ``payment_events`` (unique by provider and
event id), so a replay changes nothing. The events of a payment decide where it stands
(``standing``); the ledger is moved by the difference to where it stood before. An event that comes
before anything tells which payment it is about is kept, and counts once its charge is known.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from zenzefi.audit.log import GATE, Actor, record
from zenzefi.billing import ledger, repository
from zenzefi.billing.ledger import ZERO, Kind
from zenzefi.billing.models import payment_events, payments
from zenzefi.billing.payment_state import Said, Standing, is_full, standing
from zenzefi.billing.providers.base import Event, Outcome
from zenzefi.billing.repository import Payment, PaymentStatus
from zenzefi.db.base import utcnow

log = logging.getLogger(__name__)

_e, _p = payment_events.c, payments.c
_GIVEN_UP = {Outcome.FAILED, Outcome.EXPIRED, Outcome.CANCELLED}


async def apply(
    connection: AsyncConnection, provider: str, event: Event, actor: Actor = GATE
) -> str:
    """Apply one event inside the caller's transaction, once; what came of it, in a word or two.

    ``actor`` is the administrator on whose word it happens, where it is one's.
    """
    if event.outcome is Outcome.NOTHING:
        return "nothing to do"
    if event.charge is not None and connection.dialect.name == "postgresql":
        # An early event of a charge and the one that makes the charge known must see each other.
        await connection.execute(
            select(func.pg_advisory_xact_lock(func.hashtext(f"{provider}:{event.charge}")))
        )
    row_id = await _remember(connection, provider, event)
    if row_id is None:
        return "replay"
    found = await _find(connection, provider, event)
    if found is None:
        return "unknown payment"
    payment, balance = await repository.hold(connection, found.id, found.user_id)
    outcome = _foreign(payment, event)
    if outcome is None:
        await connection.execute(
            update(payment_events).where(_e.id == row_id).values(payment_id=payment.id)
        )
        outcome = await _Settling(connection, payment, balance, actor).hear(event)
    await connection.execute(update(payment_events).where(_e.id == row_id).values(outcome=outcome))
    return outcome


async def told(connection: AsyncConnection, payment: Payment) -> Standing:
    """Where a payment stands by all that was said of it."""
    rows = await connection.execute(
        select(_e.meaning, _e.amount, _e.currency, _e.part).where(
            _e.payment_id == payment.id, _e.meaning.is_not(None)
        )
    )
    said = [Said(Outcome(row.meaning), row.amount, row.currency, row.part) for row in rows]
    return standing(payment.amount_znc, payment.amount_rub, said)


async def _remember(connection: AsyncConnection, provider: str, event: Event) -> UUID | None:
    """The row of a new event; ``None`` for one that was there already."""
    insert = insert_sqlite if connection.dialect.name == "sqlite" else insert_postgresql
    row_id = uuid4()
    fresh = await connection.execute(
        insert(payment_events)
        .values(
            id=row_id,
            provider=provider,
            event_id=event.id,
            event_type=event.type,
            outcome="unknown payment",
            meaning=event.outcome.value,
            charge=event.charge,
            part=event.part,
            amount=event.amount,
            currency=event.currency,
        )
        .on_conflict_do_nothing()
    )
    return row_id if fresh.rowcount == 1 else None


async def _find(connection: AsyncConnection, provider: str, event: Event) -> Payment | None:
    for column, value in (
        (_p.id, event.payment_id),
        (_p.reference, event.reference),
        (_p.charge, event.charge),
    ):
        if value is not None:
            query = select(payments).where(_p.provider == provider, column == value).limit(1)
            row = (await connection.execute(query)).one_or_none()
            if row is not None:
                return repository.payment_of(row)
    return None


def _foreign(payment: Payment, event: Event) -> str | None:
    """Why an event that names a payment is not about it: a buyer may have written the name."""
    reason = None
    if None not in (payment.reference, event.reference) and payment.reference != event.reference:
        reason = "refused: another checkout"
    elif None not in (payment.charge, event.charge) and payment.charge != event.charge:
        reason = "refused: another charge"
    if reason is not None:
        log.error("payment %s: event %s %s", payment.id, event.id, reason)
    return reason


class _Settling:
    """One payment and its owner's account, both held, while one event is heard."""

    def __init__(
        self, connection: AsyncConnection, payment: Payment, balance: Decimal, actor: Actor
    ) -> None:
        self._connection = connection
        self._payment = payment
        self._balance = balance
        self._actor = actor

    async def hear(self, event: Event) -> str:
        """Move the ledger from where the payment stood to where it stands now."""
        payment = self._payment
        if event.outcome in _GIVEN_UP:
            if payment.status != PaymentStatus.PENDING:
                return f"ignored: {payment.status}"
            await self._set(status=event.outcome.value)
            return event.outcome.value
        if event.outcome is Outcome.PAID:
            if payment.credited_at is not None:
                return "ignored: credited already"
            if not is_full(payment.amount_rub, event.amount, event.currency):
                return await self._mismatch(event)
            await self._adopt(event.charge)
        now = await told(self._connection, payment)
        if event.outcome is Outcome.PAID:
            return await self._credit(now, event)
        more = now.reversed_znc - payment.reversed_znc
        if more > 0:
            return await self._take(now, more, event.outcome)
        if more < 0:
            return await self._give_back(now, -more, event.outcome)
        await self._set(status=self._status(now))
        return "ignored: counted already"

    async def _credit(self, now: Standing, event: Event) -> str:
        """The money has come: credit what no earlier word took back already."""
        payment, credit = self._payment, self._payment.amount_znc - now.reversed_znc
        await self._set(
            status=self._status(now),
            charge=event.charge or payment.charge,
            credited_at=utcnow(),
            reversed_znc=now.reversed_znc,
        )
        if credit > 0:
            await self._move(credit, Kind.DEPOSIT, f"Top-up by {payment.provider}")
        await self._record("payment.credited", amount=f"{credit:.2f}")
        return "credited"

    async def _take(self, now: Standing, more: Decimal, outcome: Outcome) -> str:
        """Take back; what the balance does not hold stays owed (see ``ledger.move``)."""
        payment, taken, missing = self._payment, ZERO, ZERO
        if payment.credited_at is not None:
            taken = min(more, self._balance)
            missing = more - taken
        await self._set(
            status=self._status(now),
            reversed_znc=now.reversed_znc,
            shortfall_znc=payment.shortfall_znc + missing,
        )
        if taken > 0:
            about = f"Payment by {payment.provider} {outcome.value}"
            await self._move(-taken, Kind.ADJUSTMENT, about)
        if missing > 0:
            log.warning("payment %s: %.2f ZNC taken back had been spent", payment.id, missing)
        await self._record(
            f"payment.{outcome.value}", taken=f"{taken:.2f}", missing=f"{missing:.2f}"
        )
        return outcome.value

    async def _give_back(self, now: Standing, less: Decimal, outcome: Outcome) -> str:
        """A dispute was won, or a refund failed: what was taken for it returns."""
        payment = self._payment
        owed = min(less, payment.shortfall_znc)
        await self._set(
            status=self._status(now),
            reversed_znc=now.reversed_znc,
            shortfall_znc=payment.shortfall_znc - owed,
        )
        if payment.credited_at is not None and less > owed:
            won = outcome is Outcome.DISPUTE_WON
            about = "Dispute decided for you" if won else "Failed refund returned"
            await self._move(less - owed, Kind.ADJUSTMENT, about)
        await self._record(f"payment.{outcome.value}", returned=f"{less:.2f}")
        return outcome.value

    async def _mismatch(self, event: Event) -> str:
        payment = self._payment
        log.error(
            "payment %s: paid %s %s instead of %s; not credited",
            *(payment.id, event.amount, event.currency, payment.amount_rub),
        )
        if payment.status == PaymentStatus.PENDING:
            await self._set(status=PaymentStatus.FAILED.value)
        await self._record(
            "payment.amount_mismatch", paid=str(event.amount), currency=event.currency
        )
        return "refused: amount or currency differs"

    async def _adopt(self, charge: str | None) -> None:
        """Count what was said of this charge before anybody knew whose it is."""
        if charge is None:
            return
        early = (_e.provider == self._payment.provider) & (_e.charge == charge)
        await self._connection.execute(
            update(payment_events)
            .where(early, _e.payment_id.is_(None), _e.outcome == "unknown payment")
            .values(payment_id=self._payment.id, outcome="counted with its payment")
        )

    def _status(self, now: Standing) -> str:
        if now.is_disputed:
            return PaymentStatus.DISPUTED
        if now.reversed_rub == self._payment.amount_rub:
            return PaymentStatus.REFUNDED
        if now.is_paid:
            return PaymentStatus.SUCCEEDED
        before = PaymentStatus(self._payment.status)
        return (
            PaymentStatus.PENDING
            if before in (PaymentStatus.DISPUTED, PaymentStatus.REFUNDED)
            else before
        )

    async def _move(self, amount: Decimal, kind: Kind, description: str) -> None:
        await ledger.move(
            self._connection,
            self._payment.user_id,
            amount,
            kind,
            description,
            payment_id=self._payment.id,
            actor_id=self._actor.user_id,
        )

    async def _set(self, **values: Any) -> None:
        await repository.change(self._connection, self._payment.id, **values)

    async def _record(self, action: str, **details: Any) -> None:
        await record(self._connection, self._actor, action, "payment", self._payment.id, **details)

"""Settlement: applies the events of payment providers to payments and the ledger.

Each event is applied in one transaction with its row in ``payment_events``, which is unique by
provider and event ID, so a repeated event changes nothing. The events of a payment determine its
state (``payment_state``), and the ledger is moved by the difference to the previous state. An event
that can't be assigned to a payment yet is stored, and counts once the charge of a payment is known.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select, update

from zenzefi.audit.log import GATE, Actor, record
from zenzefi.billing import ledger, repository
from zenzefi.billing.ledger import ZERO, Kind
from zenzefi.billing.models import payment_events, payments
from zenzefi.billing.payment_state import PaymentFact, PaymentState, is_full, payment_state
from zenzefi.billing.providers.base import Event, Outcome
from zenzefi.billing.repository import Payment, PaymentStatus
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import utcnow
from zenzefi.db.upsert import insert_into

log = logging.getLogger(__name__)

CREDITED = "credited"
"""The outcome of the event that credited a payment."""
_e, _p = payment_events.c, payments.c
_GIVEN_UP = {Outcome.FAILED, Outcome.EXPIRED, Outcome.CANCELLED}


OnCredit = Callable[[AsyncConnection, UUID], Awaitable[None]]
"""Called with the payment's ID in the transaction that credits it."""


async def apply(
    connection: AsyncConnection,
    provider: str,
    event: Event,
    actor: Actor = GATE,
    on_credit: Sequence[OnCredit] = (),
) -> str:
    """Apply one event inside the caller's transaction, once. Returns a short description.

    ``actor`` is the administrator who confirmed a manual payment.
    """
    if event.outcome is Outcome.NOTHING:
        return "nothing to do"
    if event.charge is not None and connection.dialect.name == "postgresql":
        # Serializes the events of a charge: one that arrives early and the one that assigns the
        # charge to a payment must see each other's rows.
        await connection.execute(
            select(func.pg_advisory_xact_lock(func.hashtext(f"{provider}:{event.charge}")))
        )
    row_id = await _store(connection, provider, event)
    if row_id is None:
        return "replay"
    found = await _find(connection, provider, event)
    if found is None:
        return "unknown payment"
    payment, balance = await repository.lock(connection, found.id, found.user_id)
    outcome = _rejection(payment, event)
    if outcome is None:
        await connection.execute(
            update(payment_events).where(_e.id == row_id).values(payment_id=payment.id)
        )
        outcome = await _Settlement(connection, payment, balance, actor).apply(event)
    await connection.execute(update(payment_events).where(_e.id == row_id).values(outcome=outcome))
    if outcome == CREDITED:
        for hook in on_credit:
            await hook(connection, payment.id)
    return outcome


async def state_of(connection: AsyncConnection, payment: Payment) -> PaymentState:
    """The state of a payment after all of its stored events."""
    rows = await connection.execute(
        select(_e.meaning, _e.amount, _e.currency, _e.part).where(
            _e.payment_id == payment.id, _e.meaning.is_not(None)
        )
    )
    facts = [PaymentFact(Outcome(row.meaning), row.amount, row.currency, row.part) for row in rows]
    return payment_state(payment.amount_znc, payment.amount_rub, facts, payment.currency)


async def _store(connection: AsyncConnection, provider: str, event: Event) -> UUID | None:
    """Insert the row of an event. ``None``: this event was stored before."""
    row_id = uuid4()
    inserted = await connection.execute(
        insert_into(connection.dialect.name, payment_events)
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
    return row_id if inserted.rowcount == 1 else None


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


def _rejection(payment: Payment, event: Event) -> str | None:
    """Why an event does not belong to the payment that it names; a buyer may control the name."""
    reason = None
    if None not in (payment.reference, event.reference) and payment.reference != event.reference:
        reason = "refused: another checkout"
    elif None not in (payment.charge, event.charge) and payment.charge != event.charge:
        reason = "refused: another charge"
    if reason is not None:
        log.error("payment event rejected: payment=%s event=%s %s", payment.id, event.id, reason)
    return reason


class _Settlement:
    """Applies one event to a payment; the rows of payment and owner are locked."""

    def __init__(
        self, connection: AsyncConnection, payment: Payment, balance: Decimal, actor: Actor
    ) -> None:
        self._connection = connection
        self._payment = payment
        self._balance = balance
        self._actor = actor

    async def apply(self, event: Event) -> str:
        """Move payment and ledger from the previous state to the current one."""
        payment = self._payment
        if event.outcome in _GIVEN_UP:
            if payment.status != PaymentStatus.PENDING:
                return f"ignored: {payment.status}"
            await self._set(status=event.outcome.value)
            return event.outcome.value
        if event.outcome is Outcome.PAID:
            if payment.credited_at is not None:
                return "ignored: credited already"
            if not is_full(payment.amount_rub, payment.currency, event.amount, event.currency):
                return await self._mismatch(event)
            await self._assign_early_events(event.charge)
        now = await state_of(self._connection, payment)
        if event.outcome is Outcome.PAID:
            return await self._credit(now, event)
        more = now.reversed_znc - payment.reversed_znc
        if more > 0:
            return await self._take(now, more, event.outcome)
        if more < 0:
            return await self._restore(now, -more, event.outcome)
        await self._set(status=self._status(now))
        return "ignored: counted already"

    async def _credit(self, now: PaymentState, event: Event) -> str:
        """Credit the payment, less what earlier events reversed."""
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
        return CREDITED

    async def _take(self, now: PaymentState, more: Decimal, outcome: Outcome) -> str:
        """Debit a reversal; the part that the balance does not cover is owed (``ledger``)."""
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
            log.warning(
                "reversed payment exceeds the balance: payment=%s owed_znc=%.2f",
                *(payment.id, missing),
            )
        await self._record(
            f"payment.{outcome.value}", taken=f"{taken:.2f}", missing=f"{missing:.2f}"
        )
        return outcome.value

    async def _restore(self, now: PaymentState, less: Decimal, outcome: Outcome) -> str:
        """Undo a reversal after a dispute was won or a refund failed."""
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
            "payment amount mismatch, not credited: payment=%s paid=%s currency=%s expected=%s %s",
            *(payment.id, event.amount, event.currency, payment.amount_rub, payment.currency),
        )
        if payment.status == PaymentStatus.PENDING:
            await self._set(status=PaymentStatus.FAILED.value)
        await self._record(
            "payment.amount_mismatch", paid=str(event.amount), currency=event.currency
        )
        return "refused: amount or currency differs"

    async def _assign_early_events(self, charge: str | None) -> None:
        """Assign events of this charge that arrived before the charge was known."""
        if charge is None:
            return
        early = (_e.provider == self._payment.provider) & (_e.charge == charge)
        await self._connection.execute(
            update(payment_events)
            .where(early, _e.payment_id.is_(None), _e.outcome == "unknown payment")
            .values(payment_id=self._payment.id, outcome="counted with its payment")
        )

    def _status(self, now: PaymentState) -> str:
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

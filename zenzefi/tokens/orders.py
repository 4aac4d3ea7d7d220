"""Orders: a purchase that a payment completes when it arrives.

Theory of operation
===================

A buyer whose balance is too low pays what is missing. The choice, its price and the payment are
stored as an *order* in the transaction that opens the payment::

    waiting ──the payment is credited──> completed, or failed
    waiting ──the buyer cancels the payment──> cancelled

:meth:`Orders.complete` runs in the transaction that credits the payment. So the purchase needs no
browser, and credit and purchase take effect together or not at all. The row of the order is locked
and its status is part of the condition: concurrent and repeated events complete it once, on every
node. The purchase runs in a savepoint. If it is refused (the balance was spent meanwhile, a scope
was removed), the order fails, and the money stays on the balance.

- The price is the one that the buyer agreed to, also if prices change before the payment arrives.
  A promo code counts when the order is completed; if it was used up by then, the order fails.
- An expired or failed payment that is paid nevertheless completes its order. A cancelled one only
  credits the balance.
- A periodic job completes orders whose payment was credited without the hook, for example by an
  older node during an update.

``maintenance/reconciliation.py`` verifies that each completed order has exactly one purchase, at
the agreed price.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web
from sqlalchemy import Row, select, update

from zenzefi.audit.log import Actor, record
from zenzefi.billing import ledger, repository
from zenzefi.billing.models import orders, payments
from zenzefi.billing.payments import Payment, Payments
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.errors import GateError
from zenzefi.tokens.bundles import Bundles
from zenzefi.tokens.promo_codes import record_use
from zenzefi.tokens.service import Tokens

log = logging.getLogger(__name__)

_o, _p = orders.c, payments.c
_BATCH = 100


@dataclass(frozen=True, slots=True)
class Choice:
    """The choice of a buyer: one token, or a bundle."""

    duration_hours: int | None = None
    scope: str | None = None
    bundle_id: UUID | None = None
    promo_code_id: UUID | None = None
    discount: Decimal = ledger.ZERO
    """The discount of the promo code, in ZNC."""


@dataclass(frozen=True, slots=True)
class Order:
    """One order; the fields are columns of ``orders``."""

    id: UUID
    user_id: UUID
    payment_id: UUID
    duration_hours: int | None
    scope: str | None
    bundle_id: UUID | None
    price: Decimal
    promo_code_id: UUID | None
    discount: Decimal
    status: str
    reason: str | None
    token_id: UUID | None
    bundle_purchase_id: UUID | None


def _order(row: Row[Any]) -> Order:
    return Order(**{name: row._mapping[name] for name in Order.__dataclass_fields__})


class Orders:
    """The service of orders."""

    def __init__(
        self, database: Database, tokens: Tokens, bundles: Bundles, payments_: Payments
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._bundles = bundles
        self._payments = payments_

    async def missing(
        self, user_id: UUID, price: Decimal, connection: AsyncConnection | None = None
    ) -> Decimal:
        """The amount in ZNC to pay for something at this price; zero or less: nothing.

        It is read in the caller's transaction if there is one. Debts of reversed payments are
        repaid first (``billing/ledger.py``), so they count too.
        """
        if connection is None:
            async with self._database.read() as reader:
                return await self.missing(user_id, price, reader)
        balance = await ledger.balance(connection, user_id)
        return price - balance + await self._payments.owed(user_id, connection)

    async def open(
        self,
        connection: AsyncConnection,
        actor: Actor,
        user_id: UUID,
        choice: Choice,
        *,
        price: Decimal,
        amount: Decimal,
        provider_name: str,
        return_to: str,
    ) -> Payment:
        """Open the payment of ``amount`` (ZNC) and its order, in the caller's transaction.

        ``return_to`` is the URL of the pages of payments, to which the ID is added. The provider
        ``mock`` is paid at once; for the others :meth:`Payments.start` follows. Raises ``Invalid``
        for a provider that is not configured and an amount that is out of range.
        """
        opened = await self._payments.open(
            connection,
            actor,
            user_id,
            amount=amount,
            return_url=None,
            provider_name=provider_name,
        )
        await repository.change(connection, opened.id, return_url=f"{return_to}{opened.id}")
        await self.insert(connection, actor, opened, choice, price)
        if opened.provider == "mock":
            return await self._payments.pay_mock(connection, opened)
        return opened

    async def insert(
        self,
        connection: AsyncConnection,
        actor: Actor,
        payment: Payment,
        choice: Choice,
        price: Decimal,
    ) -> None:
        """Insert the order of an open payment, in the transaction that opened it."""
        await self._require_allowed(connection, payment.user_id, choice)
        order_id = uuid4()
        await connection.execute(
            orders.insert().values(
                id=order_id,
                user_id=payment.user_id,
                payment_id=payment.id,
                duration_hours=choice.duration_hours,
                scope=choice.scope,
                bundle_id=choice.bundle_id,
                price=price,
                promo_code_id=choice.promo_code_id,
                discount=choice.discount,
                status="waiting",
            )
        )
        await record(connection, actor, "order.opened", "order", order_id, price=f"{price:.2f}")

    async def _require_allowed(
        self, connection: AsyncConnection, user_id: UUID, choice: Choice
    ) -> None:
        """Raise ``ScopeNotAllowed`` before the user pays for something that can't be bought."""
        scope = choice.scope
        if choice.bundle_id is not None:
            scope = (await self._bundles.find(choice.bundle_id)).scope
        await self._tokens.require_allowed(connection, user_id, scope or "")

    async def of_payment(self, payment_id: UUID) -> Order | None:
        """The order that a payment completes."""
        async with self._database.read() as connection:
            query = select(orders).where(_o.payment_id == payment_id)
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _order(row)

    async def complete(self, connection: AsyncConnection, payment_id: UUID) -> None:
        """Complete the order of a payment that was credited, once.

        Runs in the transaction of the credit, in which the rows of user and payment are locked.
        """
        query = select(orders).where(_o.payment_id == payment_id, _o.status == "waiting")
        row = (await connection.execute(query.with_for_update())).one_or_none()
        if row is None:
            return
        order, actor = _order(row), Actor(user_id=row.user_id)
        values: dict[str, Any]
        try:
            async with connection.begin_nested():
                values = {"status": "completed", **await self._purchase(connection, actor, order)}
        except GateError as error:
            log.warning("order not completed: order=%s code=%s", order.id, error.code)
            values = {"status": "failed", "reason": error.code}
        await connection.execute(
            update(orders).where(_o.id == order.id).values(**values, updated_at=utcnow())
        )
        await record(
            connection,
            actor,
            f"order.{values['status']}",
            "order",
            order.id,
            **({"reason": values["reason"]} if "reason" in values else {}),
        )

    async def _purchase(
        self, connection: AsyncConnection, actor: Actor, order: Order
    ) -> dict[str, UUID]:
        if order.bundle_id is not None:
            bought = await self._bundles.purchase(
                connection, actor, order.user_id, order.bundle_id, agreed=order.price
            )
            return {"bundle_purchase_id": bought.id}
        token = await self._tokens.purchase(
            connection,
            actor,
            order.user_id,
            duration_hours=order.duration_hours or 0,
            scope=order.scope or "",
            agreed=order.price,
        )
        if order.promo_code_id is not None:
            await record_use(
                connection, order.promo_code_id, order.user_id, token, discount=order.discount
            )
        return {"token_id": token.id}

    async def complete_credited(self) -> None:
        """Complete orders that wait although their payment was credited; a periodic job."""
        query = (
            select(_o.payment_id, _o.user_id)
            .join(payments, _p.id == _o.payment_id)
            .where(_o.status == "waiting", _p.credited_at.is_not(None))
            .limit(_BATCH)
        )
        async with self._database.read() as connection:
            found = (await connection.execute(query)).all()
        for row in found:
            async with self._database.begin() as connection:
                await repository.lock(connection, row.payment_id, row.user_id)
                await self.complete(connection, row.payment_id)


ORDERS: web.AppKey[Orders] = web.AppKey("orders", Orders)

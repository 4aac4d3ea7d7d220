"""One user and everything that may happen to their money, at the level of the services."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from pydantic import BaseModel
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.kit.gates import SECRET_KEY
from zenzefi.accounts.models import users
from zenzefi.api.idempotency import Idempotency, idempotency_keys
from zenzefi.audit.log import GATE
from zenzefi.audit.models import audit_logs
from zenzefi.billing import ledger, settlement
from zenzefi.billing.ledger import Kind
from zenzefi.billing.models import orders, payment_events, payments, promo_uses, transactions
from zenzefi.billing.payments import Payments
from zenzefi.billing.providers.base import Event, Outcome
from zenzefi.billing.providers.mock import Mock
from zenzefi.db.base import Money, utcnow
from zenzefi.db.engine import Database
from zenzefi.keys import Keyring
from zenzefi.maintenance.reconciliation import reconcile
from zenzefi.settings import Settings, load_settings
from zenzefi.tokens.bundles import Bundles
from zenzefi.tokens.models import access_tokens, renewals
from zenzefi.tokens.orders import Choice, Orders
from zenzefi.tokens.promo_codes import PromoCodes
from zenzefi.tokens.renewals import Renewals
from zenzefi.tokens.scopes import Scopes
from zenzefi.tokens.service import Tokens
from zenzefi.tokens.validation import TokenValidator


def config() -> Settings:
    """Settings with prices that do not divide evenly."""
    return load_settings(
        {
            "secret_key": SECRET_KEY,
            "debug": True,
            "payment_providers": ["mock"],
            "token_price_1h": "0.50",
            "token_price_12h": "3.33",
            "token_price_24h": "0",
        }
    )


class PurchaseBody(BaseModel):
    """The response to a purchase with a key."""

    token_id: UUID


class BillingModel:
    """The user and the services. ``user_id`` names one that is there already."""

    def __init__(self, database: Database, user_id: UUID | None = None) -> None:
        settings = config()
        keyring = Keyring.of(settings)
        self.database = database
        self.token_validator = TokenValidator(database, keyring)
        self.tokens = Tokens(settings, database, keyring, self.token_validator, Scopes({}))
        self.bundles = Bundles(settings, database, keyring)
        self.payments = Payments(settings, database, {"mock": Mock(settings)})
        self.orders = Orders(database, self.tokens, self.bundles, self.payments)
        self.promo_codes = PromoCodes(database, self.tokens)
        self.renewals = Renewals(database, self.tokens)
        self.payments.on_credit.append(self.orders.complete)
        self.idempotency = Idempotency(database, keyring)
        self.user_id = user_id or uuid4()
        self.bundle_ids: list[UUID] = []
        self.codes: list[str] = []
        self.payment_ids: list[UUID] = []

    async def begin(self) -> None:
        """Make the user, and two bundles to buy."""
        name = self.user_id.hex[:30]
        async with self.database.begin() as connection:
            await connection.execute(
                users.insert().values(
                    id=self.user_id,
                    email=name,
                    email_key=name,
                    username=name,
                    username_key=name,
                    password_hash="none",
                )
            )
        for count, price in ((3, "1.00"), (7, "9.99")):
            made = await self.bundles.create(
                GATE,
                name="B",
                duration_hours=1,
                token_count=count,
                scope="full",
                price=Decimal(price),
            )
            self.bundle_ids.append(made.id)
        half = await self.promo_codes.create(GATE, max_uses=1, percent=50)
        less = await self.promo_codes.create(GATE, max_uses=1, amount=Decimal("2.00"))
        self.codes += [half.code, less.code]

    # --- what may happen

    async def credit(self, amount: Decimal) -> None:
        """An administrator puts money on the account."""
        async with self.database.begin() as connection:
            await ledger.move(connection, self.user_id, amount, Kind.BONUS, "credit")

    async def purchase(self, hours: int, key: str | None = None) -> None:
        """A token is bought, perhaps under an Idempotency-Key."""

        async def work(connection: AsyncConnection) -> PurchaseBody:
            token = await self.tokens.purchase(
                connection, GATE, self.user_id, duration_hours=hours, scope="full"
            )
            return PurchaseBody(token_id=token.id)

        body = PurchaseBody(token_id=UUID(int=hours))
        await self.idempotency.run(self.user_id, key, "purchase", body, PurchaseBody, work)

    async def bundle(self, number: int) -> None:
        """A bundle is bought."""
        async with self.database.begin() as connection:
            await self.bundles.purchase(connection, GATE, self.user_id, self.bundle_ids[number])

    async def order(self, hours: int) -> None:
        """A purchase is ordered, whose payment an event or ``top_up`` may complete later."""
        price = await self.tokens.price(hours, "full")
        missing = await self.orders.missing(self.user_id, price)
        if missing > 0:
            choice = Choice(duration_hours=hours, scope="full")
            await self._order(choice, price, missing)

    async def promo(self, hours: int, number: int) -> None:
        """A token is bought with a promo code."""
        async with self.database.begin() as connection:
            await self.promo_codes.purchase(
                connection,
                GATE,
                self.user_id,
                self.codes[number],
                duration_hours=hours,
                scope="full",
            )

    async def order_promo(self, hours: int, number: int) -> None:
        """A purchase with a promo code is ordered."""
        full = await self.tokens.price(hours, "full")
        promo = await self.promo_codes.valid(self.codes[number], self.user_id)
        price = promo.price(full)
        missing = await self.orders.missing(self.user_id, price)
        if missing > 0:
            choice = Choice(hours, "full", promo_code_id=promo.id, discount=full - price)
            await self._order(choice, price, missing)

    async def order_bundle(self, number: int) -> None:
        """A bundle is ordered."""
        bundle = await self.bundles.find(self.bundle_ids[number])
        missing = await self.orders.missing(self.user_id, bundle.price)
        if missing > 0:
            await self._order(Choice(bundle_id=bundle.id), bundle.price, missing)

    async def _order(self, choice: Choice, price: Decimal, missing: Decimal) -> None:
        async with self.database.begin() as connection:
            opened = await self.payments.open(
                connection, GATE, self.user_id, amount=missing, return_url=None
            )
            await self.orders.insert(connection, GATE, opened, choice, price)
        self.payment_ids.append(opened.id)

    async def cancel(self, number: int) -> None:
        """A payment is cancelled, and its order with it."""
        if self.payment_ids:
            payment_id = self.payment_ids[number % len(self.payment_ids)]
            await self.payments.cancel(GATE, payment_id, self.user_id)

    async def revoke(self, number: int) -> None:
        """A token is revoked."""
        mine = await self.tokens.of_user(self.user_id)
        if mine:
            token = mine[number % len(mine)]
            await self.tokens.revoke(GATE, token.id, owner_id=self.user_id)

    async def use(self, number: int) -> None:
        """A token is used for the first time, or again."""
        mine = await self.tokens.of_user(self.user_id)
        if mine:
            value = mine[number % len(mine)].plaintext
            assert value is not None
            await self.token_validator.activate(await self.token_validator.validate(value))

    async def renew(self, number: int, ceiling: Decimal) -> None:
        """The renewal of a token is switched on."""
        mine = await self.tokens.of_user(self.user_id)
        if mine:
            token = mine[number % len(mine)]
            await self.renewals.switch_on(GATE, token.id, self.user_id, ceiling)

    async def stop_renewal(self, number: int) -> None:
        """The renewal of a token is switched off."""
        mine = await self.tokens.of_user(self.user_id)
        if mine:
            await self.renewals.stop(GATE, mine[number % len(mine)].id, self.user_id)

    async def end(self, number: int) -> None:
        """The time of a token passes; the job of renewals runs three times at once."""
        mine = await self.tokens.of_user(self.user_id)
        if mine:
            token = mine[number % len(mine)]
            await self._let_pass(token.id, token.duration_hours)
        await asyncio.gather(*(self.renewals.renew_ended() for _ in range(3)))

    async def _let_pass(self, token_id: UUID, hours: int) -> None:
        t = access_tokens.c
        async with self.database.begin() as connection:
            now = (await connection.execute(select(utcnow()))).scalar_one()
            await connection.execute(
                update(access_tokens)
                .where(t.id == token_id, t.activated_at.is_(None), t.revoked_at.is_(None))
                .values(activated_at=now - timedelta(hours=hours, minutes=1))
            )

    async def open(self, amount: Decimal) -> UUID:
        """A payment is opened."""
        async with self.database.begin() as connection:
            opened = await self.payments.open(
                connection, GATE, self.user_id, amount=amount, return_url=None
            )
        self.payment_ids.append(opened.id)
        return opened.id

    async def top_up(self, amount: Decimal) -> None:
        """Open a payment and pay it."""
        await self.open(amount)
        await self.receive_event("paid", len(self.payment_ids) - 1)

    async def receive_event(self, what: str, number: int, part: str | None = None) -> None:
        """The payment service sends an event of a payment, twice at once."""
        if not self.payment_ids:
            return
        payment = await self.payments.find(self.payment_ids[number % len(self.payment_ids)])
        amount = payment.amount_rub if what == "paid" else payment.amount_rub / 2
        event = Event(
            id=uuid4().hex,
            type=what,
            outcome=Outcome(what),
            payment_id=payment.id,
            charge=f"charge-{payment.id}",
            amount=amount.quantize(Decimal("0.01")),
            currency="RUB",
            part=part,
        )
        await asyncio.gather(*(self.payments.apply("mock", event) for _ in range(2)))

    # --- what must hold

    async def check(self) -> None:
        """Nothing was lost or made."""
        assert (await reconcile(self.database)).discrepancies == []
        t, x, p = access_tokens.c, transactions.c, payments.c
        async with self.database.read() as connection:
            balance = await ledger.balance(connection, self.user_id)
            paid, refunded = (
                await connection.execute(
                    select(
                        func.coalesce(func.sum(t.cost, type_=Money), 0, type_=Money),
                        func.coalesce(func.sum(t.refunded, type_=Money), 0, type_=Money),
                    ).where(t.user_id == self.user_id)
                )
            ).one()
            rows = (
                await connection.execute(
                    select(x.seq, x.amount, x.balance_after, x.transaction_type, x.payment_id)
                    .where(x.user_id == self.user_id)
                    .order_by(x.seq)
                )
            ).all()
            told = (
                await connection.execute(select(payments).where(p.user_id == self.user_id))
            ).all()
            ordered = (
                await connection.execute(
                    select(orders, p.credited_at)
                    .join(payments, p.id == orders.c.payment_id)
                    .where(orders.c.user_id == self.user_id)
                )
            ).all()
        assert balance >= 0
        assert refunded <= paid
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
        so_far = Decimal(0)
        for row in rows:
            so_far += row.amount
            assert row.balance_after == so_far
        assert so_far == balance
        spent = -sum(row.amount for row in rows if row.transaction_type == "purchase")
        returned = sum(row.amount for row in rows if row.transaction_type == "refund")
        assert (spent, returned) == (paid, refunded)
        for payment in told:
            moved = sum(row.amount for row in rows if row.payment_id == payment.id)
            kept = payment.amount_znc - payment.reversed_znc + payment.shortfall_znc
            assert moved == (0 if payment.credited_at is None else kept)
            # A user in debt has no balance: every credit repays the debt first.
            assert payment.shortfall_znc == 0 or balance == 0
        for order in ordered:  # exactly the orders whose payment arrived are completed or failed
            assert (order.status == "waiting") <= (order.credited_at is None)
            assert (order.status in ("completed", "failed")) <= (order.credited_at is not None)
            codes = {None, "insufficient_balance", "promo_code_invalid", "promo_code_used"}
            assert order.reason in codes

        await self._check_renewals()
        await self._check_promo_codes()

    async def _check_promo_codes(self) -> None:
        """Each code was used once at most, for a token that cost what its use says."""
        use, t = promo_uses.c, access_tokens.c
        async with self.database.read() as connection:
            query = select(promo_uses, t.cost).join(access_tokens, t.id == use.token_id)
            rows = (await connection.execute(query.where(use.user_id == self.user_id))).all()
        assert len({row.promo_code_id for row in rows}) == len(rows) <= len(self.codes)
        assert all(row.cost == row.paid for row in rows)

    async def _check_renewals(self) -> None:
        """A token that ended has one successor at most, and none costs more than agreed."""
        r, t = renewals.c, access_tokens.c
        async with self.database.read() as connection:
            query = select(renewals, t.cost).join(access_tokens, t.id == r.next_token_id)
            rows = (await connection.execute(query.where(r.user_id == self.user_id))).all()
        assert len({row.token_id for row in rows}) == len(rows)
        assert len({row.next_token_id for row in rows}) == len(rows)
        for row in rows:
            assert row.cost == row.price <= row.ceiling

    async def state(self) -> list[Any]:
        """Everything that may have changed, to be compared."""
        async with self.database.read() as connection:
            found: list[Any] = [await ledger.balance(connection, self.user_id)]
            for table in (
                *(transactions, access_tokens, payments, payment_events, orders, renewals),
                *(idempotency_keys, audit_logs),
            ):
                query = select(table).order_by(table.c.id)
                found.append([tuple(row) for row in await connection.execute(query)])
        return found


Act = Callable[[BillingModel], Awaitable[Any]]
ACTS: dict[str, Act] = {
    "credit": lambda model: model.credit(Decimal("3.00")),
    "purchase": lambda model: model.purchase(12, key="order"),
    "bundle": lambda model: model.bundle(0),
    "revoke": lambda model: model.revoke(0),
    "paid": lambda model: _apply_event(model, Outcome.PAID, "charge-a"),
    "disputed": lambda model: _apply_event(model, Outcome.DISPUTED, "charge-b"),
}
"""Each in one transaction: what a crash may interrupt."""


async def _apply_event(model: BillingModel, outcome: Outcome, charge: str) -> None:
    async with model.database.begin() as connection:
        rows = await connection.execute(
            select(payments.c.id, payments.c.amount_rub)
            .where(payments.c.user_id == model.user_id)
            .order_by(payments.c.amount_rub)
        )
        first, second = rows.all()
        one = first if outcome is Outcome.PAID else second
        await settlement.apply(
            connection,
            "mock",
            Event(
                *(f"event-{charge}", outcome.value, outcome, one.id),
                charge=charge,
                amount=one.amount_rub,
                currency="RUB",
            ),
        )

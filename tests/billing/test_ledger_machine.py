"""Whatever moves money, in any order and at once: balance == sum(ledger) >= 0, refunds <= paid."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from tests.conftest import SECRET_KEY
from zenzefi.accounts.models import users
from zenzefi.audit.log import GATE
from zenzefi.billing import ledger
from zenzefi.billing.bundles import Bundles, shares
from zenzefi.billing.ledger import Kind
from zenzefi.billing.models import transactions
from zenzefi.billing.payments import Payments
from zenzefi.billing.proof import prove
from zenzefi.billing.providers.base import Event, Outcome
from zenzefi.billing.providers.mock import Mock
from zenzefi.config import Settings, load_settings
from zenzefi.db.base import Money
from zenzefi.db.engine import Database
from zenzefi.errors import GateError, InsufficientBalance
from zenzefi.keys import Keyring
from zenzefi.tokens.gatekeeper import Gatekeeper
from zenzefi.tokens.models import access_tokens
from zenzefi.tokens.scopes import Scopes
from zenzefi.tokens.service import Tokens

AMOUNTS = st.integers(1, 2000).map(lambda cents: Decimal(cents).scaleb(-2))
STEP = st.one_of(
    st.tuples(st.just("credit"), AMOUNTS),
    st.tuples(st.just("purchase"), st.sampled_from([1, 12, 24])),
    st.tuples(st.just("bundle"), st.integers(0, 1)),
    st.tuples(st.just("revoke"), st.integers(0, 5)),
    st.tuples(st.just("use"), st.integers(0, 5)),
    st.tuples(st.just("open"), AMOUNTS),
    st.tuples(
        st.sampled_from(["paid", "refunded", "disputed", "dispute_won", "expired"]),
        st.integers(0, 3),
    ),
)


class World:
    """One user and everything that may happen to their money."""

    def __init__(self, database: Database, config: Settings) -> None:
        keyring = Keyring.of(config)
        self.database = database
        self.gatekeeper = Gatekeeper(database, keyring)
        self.tokens = Tokens(config, database, keyring, self.gatekeeper, Scopes({}))
        self.bundles = Bundles(config, database, keyring)
        self.payments = Payments(config, database, {"mock": Mock(config)})
        self.user_id = uuid4()
        self.bundle_ids: list[UUID] = []
        self.payment_ids: list[UUID] = []

    async def begin(self) -> None:
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

    async def act(self, what: str, argument: Any) -> None:
        match what:
            case "credit":
                async with self.database.begin() as connection:
                    await ledger.move(connection, self.user_id, argument, Kind.BONUS, "credit")
            case "purchase":
                async with self.database.begin() as connection:
                    await self.tokens.purchase(
                        connection, GATE, self.user_id, duration_hours=argument, scope="full"
                    )
            case "bundle":
                async with self.database.begin() as connection:
                    await self.bundles.purchase(
                        connection, GATE, self.user_id, self.bundle_ids[argument]
                    )
            case "revoke" | "use":
                mine = await self.tokens.of_user(self.user_id)
                if mine and what == "revoke":
                    chosen = mine[argument % len(mine)]
                    await self.tokens.revoke(GATE, chosen.id, owner_id=self.user_id)
                elif mine:
                    value = mine[argument % len(mine)].token
                    assert value is not None
                    await self.gatekeeper.activate(await self.gatekeeper.validate(value))
            case "open":
                async with self.database.begin() as connection:
                    opened = await self.payments.open(
                        connection, GATE, self.user_id, amount=argument, return_url=None
                    )
                self.payment_ids.append(opened.id)
            case _:
                if self.payment_ids:
                    await self.tell(what, self.payment_ids[argument % len(self.payment_ids)])

    async def tell(self, what: str, payment_id: UUID) -> None:
        payment = await self.payments.find(payment_id)
        amount = payment.amount_rub if what == "paid" else payment.amount_rub / 2
        event = Event(
            id=uuid4().hex,
            type=what,
            outcome=Outcome(what),
            payment_id=payment_id,
            amount=amount,
            currency="RUB",
        )
        await asyncio.gather(*(self.payments.apply("mock", event) for _ in range(2)))

    async def check(self) -> None:
        t, x = access_tokens.c, transactions.c
        assert (await prove(self.database)).faults == []
        async with self.database.read() as connection:
            assert await ledger.balance(connection, self.user_id) >= 0
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
                    select(x.seq, x.amount, x.balance_after, x.transaction_type)
                    .where(x.user_id == self.user_id)
                    .order_by(x.seq)
                )
            ).all()
        assert refunded <= paid
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
        balance = Decimal(0)
        for row in rows:
            balance += row.amount
            assert row.balance_after == balance
        spent = -sum(row.amount for row in rows if row.transaction_type == "purchase")
        returned = sum(row.amount for row in rows if row.transaction_type == "refund")
        assert (spent, returned) == (paid, refunded)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rounds=st.lists(st.lists(STEP, min_size=1, max_size=4), min_size=1, max_size=8))
async def test_money_is_neither_lost_nor_made(
    database: Database, rounds: list[list[tuple[str, Any]]]
) -> None:
    config = load_settings(
        {
            "secret_key": SECRET_KEY,
            "debug": True,
            "payment_providers": ["mock"],
            "token_price_1h": "0.50",
            "token_price_12h": "3.33",
        }
    )
    world = World(database, config)
    await world.begin()
    for steps in rounds:
        answers = await asyncio.gather(
            *(world.act(*step) for step in steps), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, GateError):
                raise answer
        await world.check()


@given(st.integers(0, 10**9), st.integers(1, 100))
def test_the_shares_of_a_bundle_add_up_to_its_price(cents: int, count: int) -> None:
    price = Decimal(cents).scaleb(-2)
    parts = shares(price, count)
    assert len(parts) == count
    assert sum(parts) == price
    assert max(parts) - min(parts) <= Decimal("0.01")


_KILLED = """
import asyncio, os, signal, sys
from decimal import Decimal
from uuid import UUID
from zenzefi.billing.ledger import Kind, move
from zenzefi.db.engine import Database

async def main():
    async with Database(sys.argv[1]).begin() as connection:
        await move(connection, UUID(sys.argv[2]), Decimal("-1.00"), Kind.PURCHASE, "half")
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_program_killed_between_statements_leaves_all_or_nothing(
    database: Database, database_url: str
) -> None:
    world = World(database, load_settings({"secret_key": SECRET_KEY, "debug": True}))
    await world.begin()
    await world.act("credit", Decimal("5.00"))
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _KILLED, database_url, str(world.user_id)],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    await world.check()
    async with database.begin() as connection:
        assert str(await ledger.balance(connection, world.user_id)) == "5.00"


async def test_what_is_missing_is_told_to_the_hundredth(database: Database) -> None:
    world = World(database, load_settings({"secret_key": SECRET_KEY, "debug": True}))
    await world.begin()
    await world.act("credit", Decimal("5.01"))
    with pytest.raises(
        InsufficientBalance, match=r"costs 7\.00 ZNC and you have 5\.01\. Top up 1\.99"
    ):
        await _spend(world, "7.00")


async def _spend(world: World, amount: str) -> None:
    async with world.database.begin() as connection:
        await ledger.move(connection, world.user_id, -Decimal(amount), Kind.PURCHASE, "much")

"""Whatever moves money, in any order and at once: balance == sum(ledger) >= 0, refunds <= paid."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.kit.billing_model import BillingModel
from zenzefi.billing.errors import InsufficientBalance
from zenzefi.db.engine import Database
from zenzefi.errors import GateError
from zenzefi.tokens.bundles import shares

AMOUNTS = st.integers(1, 2000).map(lambda cents: Decimal(cents).scaleb(-2))
STEP = st.one_of(
    st.tuples(st.just("credit"), AMOUNTS),
    st.tuples(st.just("purchase"), st.sampled_from([1, 12, 24])),
    st.tuples(st.just("purchase"), st.sampled_from([1, 12]), st.sampled_from(["a", "b"])),
    st.tuples(st.just("bundle"), st.integers(0, 1)),
    st.tuples(st.just("order"), st.sampled_from([1, 12])),
    st.tuples(st.just("order_bundle"), st.integers(0, 1)),
    st.tuples(st.just("promo"), st.sampled_from([1, 12]), st.integers(0, 1)),
    st.tuples(st.just("order_promo"), st.sampled_from([1, 12]), st.integers(0, 1)),
    st.tuples(st.just("renew"), st.integers(0, 5), st.sampled_from([Decimal(1), Decimal(9)])),
    st.tuples(st.just("stop_renewal"), st.integers(0, 5)),
    st.tuples(st.just("end"), st.integers(0, 5)),
    st.tuples(st.just("cancel"), st.integers(0, 3)),
    st.tuples(st.just("revoke"), st.integers(0, 5)),
    st.tuples(st.just("use"), st.integers(0, 5)),
    st.tuples(st.just("open"), AMOUNTS),
    st.tuples(st.just("top_up"), AMOUNTS),
    st.tuples(st.just("top_up"), AMOUNTS),
    st.tuples(
        st.just("receive_event"),
        st.sampled_from(
            ["paid", "paid", "refunded", "refund_failed", "disputed", "dispute_won", "expired"]
        ),
        st.integers(0, 3),
        st.sampled_from([None, "one", "two"]),
    ),
)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(  # spent, taken back, repaid, decided for the gate
    rounds=[
        [("top_up", Decimal("10.00")), ("top_up", Decimal("1.00"))],
        [("bundle", 1), ("bundle", 0)],
        [("receive_event", "disputed", 0, "one"), ("receive_event", "disputed", 1, "one")],
        [("credit", Decimal("0.50")), ("revoke", 0), ("revoke", 1)],
        [("receive_event", "dispute_won", 0, "one"), ("receive_event", "refunded", 1, None)],
    ]
)
@example(  # two orders for one missing amount, one cancelled, all paid
    rounds=[
        [("order", 12), ("order_bundle", 1), ("order", 1)],
        [("cancel", 2)],
        [("receive_event", "paid", number, None) for number in range(3)],
        [("receive_event", "refunded", 0, None), ("receive_event", "disputed", 1, "one")],
        [("order", 12)],
        [("receive_event", "paid", 3, None)],
    ]
)
@example(  # one code for two orders and a purchase at the same time
    rounds=[
        [("order_promo", 12, 0), ("order_promo", 12, 0), ("order_promo", 12, 1)],
        [("top_up", Decimal("10.00")), ("promo", 12, 0)],
        [("receive_event", "paid", number, None) for number in range(3)],
        [("promo", 12, 1), ("promo", 12, 1), ("revoke", 0)],
    ]
)
@example(  # renewed, renewed again, too expensive, and a race of everything
    rounds=[
        [("top_up", Decimal("10.00"))],
        [("purchase", 1), ("purchase", 12)],
        [("renew", 0, Decimal(9)), ("renew", 1, Decimal(9))],
        [("end", 0), ("end", 1), ("stop_renewal", 0), ("purchase", 12)],
        [("end", 0), ("revoke", 0), ("renew", 0, Decimal(1))],
        [("end", 0), ("receive_event", "disputed", 0, "one")],
    ]
)
@given(rounds=st.lists(st.lists(STEP, min_size=1, max_size=4), min_size=1, max_size=8))
async def test_money_is_neither_lost_nor_made(
    database: Database, rounds: list[list[tuple[Any, ...]]]
) -> None:
    model = BillingModel(database)
    await model.begin()
    for steps in rounds:
        responses = await asyncio.gather(
            *(getattr(model, what)(*arguments) for what, *arguments in steps),
            return_exceptions=True,
        )
        for response in responses:
            if isinstance(response, BaseException) and not isinstance(response, GateError):
                raise response
        await model.check()


@given(st.integers(0, 10**9), st.integers(1, 100))
def test_the_shares_of_a_bundle_add_up_to_its_price(cents: int, count: int) -> None:
    price = Decimal(cents).scaleb(-2)
    parts = shares(price, count)
    assert len(parts) == count
    assert sum(parts) == price
    assert max(parts) - min(parts) <= Decimal("0.01")


async def test_missing_money_is_reported_to_the_hundredth(database: Database) -> None:
    model = BillingModel(database)
    await model.begin()
    await model.credit(Decimal("3.01"))
    with pytest.raises(
        InsufficientBalance, match=r"costs 3\.33 ZNC and you have 3\.01\. Top up 0\.32"
    ):
        await model.purchase(12)

"""Money that the payment service takes back: refunds and disputes, in any order, spent or not."""

from __future__ import annotations

import asyncio
import itertools
from decimal import Decimal
from typing import Any

import pytest

from tests.kit.api import buy, call, give, sign_up, user_id_of
from tests.kit.gates import GateClient, MakeGate
from tests.kit.payments import (
    MOCK,
    assert_whole,
    balance_of,
    open_payment,
    payment_of,
    send_webhook,
)
from zenzefi.billing import ledger, settlement
from zenzefi.billing.payments import PAYMENTS
from zenzefi.billing.providers.base import Event, Outcome
from zenzefi.db.engine import DATABASE


@pytest.fixture
async def mock(make_gate: MakeGate) -> GateClient:
    return await make_gate(**MOCK)


async def test_a_won_dispute_gives_back_what_it_took_and_not_what_was_refunded(
    mock: GateClient,
) -> None:
    bearer = await sign_up(mock)
    payment_id = await open_payment(mock, bearer)
    for kind, amount, left in (
        ("paid", "100.00", "10.00"),
        ("refunded", "30.00", "7.00"),
        ("disputed", "70.00", "0.00"),
        ("dispute_won", "70.00", "7.00"),
    ):
        await send_webhook(mock, payment_id, kind, amount)
        assert await balance_of(mock, bearer) == left, kind
    assert (await payment_of(mock, bearer))["reversed_znc"] == "3.00"
    await assert_whole(mock)


async def test_a_dispute_over_a_part_takes_that_part(mock: GateClient) -> None:
    bearer = await sign_up(mock)
    payment_id = await open_payment(mock, bearer)
    await send_webhook(mock, payment_id, "paid")
    await send_webhook(mock, payment_id, "disputed", "40.00")
    assert await balance_of(mock, bearer) == "6.00"
    assert (await payment_of(mock, bearer))["status"] == "disputed"


async def test_the_end_is_the_same_in_whatever_order_the_events_come(mock: GateClient) -> None:
    bearer = await sign_up(mock)
    events = [("paid", "100.00"), ("refunded", "20.00"), ("refunded", "50.00")]
    events += [("disputed", "30.00"), ("dispute_won", "30.00")]
    for order in itertools.islice(itertools.permutations(events), 0, None, 23):
        payment_id = await open_payment(mock, bearer)
        before = float(await balance_of(mock, bearer))
        for kind, amount in order:
            await send_webhook(mock, payment_id, kind, amount, part="one")
        assert float(await balance_of(mock, bearer)) == before + 5, order
    await assert_whole(mock)


async def test_a_refund_counts_by_the_rate_of_its_payment(make_gate: MakeGate) -> None:
    first = await make_gate(**MOCK)
    bearer = await sign_up(first)
    payment_id = await open_payment(first, bearer)
    await send_webhook(first, payment_id, "paid")
    dearer = await make_gate(**MOCK, znc_to_rub_rate="20")
    await send_webhook(dearer, payment_id, "refunded", "50.00")
    assert await balance_of(dearer, bearer) == "5.00"
    await assert_whole(dearer)


async def test_what_a_dispute_left_missing_is_taken_from_what_comes_in_next(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(**MOCK, token_price_1h="7.00")
    bearer = await sign_up(gate)
    payment_id = await open_payment(gate, bearer)
    await send_webhook(gate, payment_id, "paid")
    token = await buy(gate, bearer, duration_hours=1)
    await send_webhook(gate, payment_id, "disputed")
    assert await balance_of(gate, bearer) == "0.00"
    # The token was bought with money that is gone: giving it back makes no new money.
    _, revoked = await call(gate, "DELETE", f"/tokens/{token['id']}", bearer=bearer)
    assert (revoked["refund_amount"], revoked["new_balance"]) == ("7.00", "0.00")
    assert await balance_of(gate, bearer) == "0.00"
    await give(gate, "5.00")
    assert await balance_of(gate, bearer) == "5.00"
    await assert_whole(gate)


async def test_a_won_dispute_gives_back_what_was_collected_meanwhile(make_gate: MakeGate) -> None:
    gate = await make_gate(**MOCK, token_price_1h="7.00")
    bearer = await sign_up(gate)
    payment_id = await open_payment(gate, bearer)
    await send_webhook(gate, payment_id, "paid")
    await buy(gate, bearer, duration_hours=1)
    await send_webhook(gate, payment_id, "disputed")
    await give(gate, "4.00")
    assert await balance_of(gate, bearer) == "0.00"
    await send_webhook(gate, payment_id, "dispute_won")
    assert await balance_of(gate, bearer) == "7.00"  # 10 + 4 - 7 for the token
    await assert_whole(gate)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"reference": "another-checkout"}, "refused: another checkout"),
        ({"charge": "another-charge"}, "refused: another charge"),
    ],
)
async def test_what_belongs_to_another_checkout_or_charge_moves_nothing(
    mock: GateClient, change: dict[str, Any], outcome: str
) -> None:
    bearer = await sign_up(mock)
    payment_id = await open_payment(mock, bearer)
    await send_webhook(mock, payment_id, "paid")
    assert await send_webhook(mock, payment_id, "refunded", **change) == outcome
    assert await balance_of(mock, bearer) == "10.00"


def _dispute(payment_id: str) -> Event:
    """As some services tell it: by the charge alone."""
    return Event(
        "dispute-1", "disputed", Outcome.DISPUTED, charge=f"mock-charge-{payment_id}", part="one"
    )


async def test_a_dispute_received_before_its_charge_counts_once_the_charge_is_known(
    mock: GateClient,
) -> None:
    bearer = await sign_up(mock)
    payment_id = await open_payment(mock, bearer)
    payments = mock.app[PAYMENTS]
    assert await payments.apply("mock", _dispute(payment_id)) == "unknown payment"
    assert await send_webhook(mock, payment_id, "paid") == "credited"
    assert await balance_of(mock, bearer) == "0.00"
    assert (await payment_of(mock, bearer))["status"] == "disputed"
    assert await payments.apply("mock", _dispute(payment_id)) == "replay"
    await send_webhook(mock, payment_id, "dispute_won", part="one")
    assert await balance_of(mock, bearer) == "10.00"
    await assert_whole(mock)


async def test_a_dispute_and_its_payment_received_concurrently_see_each_other(
    mock: GateClient,
) -> None:
    bearer = await sign_up(mock)
    payment_id = await open_payment(mock, bearer)
    dispute = _dispute(payment_id)
    async with mock.app[DATABASE].begin() as connection:
        assert await settlement.apply(connection, "mock", dispute) == "unknown payment"
        paid = asyncio.create_task(send_webhook(mock, payment_id, "paid"))
        await asyncio.sleep(0.2)  # time enough to be credited, if it did not wait
    assert await paid == "credited"
    assert await balance_of(mock, bearer) == "0.00"
    await assert_whole(mock)


async def test_a_refund_that_failed_returns_what_it_took(mock: GateClient) -> None:
    bearer = await sign_up(mock)
    payment_id = await open_payment(mock, bearer)
    await send_webhook(mock, payment_id, "paid")
    await send_webhook(mock, payment_id, "refunded", "30.00", part="r1")
    assert await balance_of(mock, bearer) == "7.00"
    assert (
        await send_webhook(mock, payment_id, "refund_failed", "30.00", part="r1") == "refund_failed"
    )
    assert await balance_of(mock, bearer) == "10.00"
    await assert_whole(mock)


async def test_reversals_and_purchases_at_once_do_not_wait_for_each_other_for_ever(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(**MOCK, token_price_1h="1.00")
    bearer = await sign_up(gate)
    opened = [await open_payment(gate, bearer) for _ in range(4)]
    for payment_id in opened:
        await send_webhook(gate, payment_id, "paid")
    for _ in range(3):
        await buy(gate, bearer, duration_hours=1)
    body = {"duration_hours": 1}
    await asyncio.gather(
        *(
            send_webhook(gate, one, kind, part="d")
            for one in opened
            for kind in ("disputed", "dispute_won")
        ),
        *(call(gate, "POST", "/tokens/purchase", bearer=bearer, json=body) for _ in range(6)),
        *(give(gate, "1.00") for _ in range(6)),
    )
    await assert_whole(gate)


async def test_a_reversal_waits_for_what_is_being_spent(mock: GateClient) -> None:
    bearer = await sign_up(mock)
    payment_id = await open_payment(mock, bearer)
    await send_webhook(mock, payment_id, "paid")
    spent = Decimal("-6.00")
    async with mock.app[DATABASE].begin() as connection:
        await ledger.move(
            connection, await user_id_of(mock), spent, ledger.Kind.ADJUSTMENT, "in the middle"
        )
        reversal = asyncio.create_task(send_webhook(mock, payment_id, "disputed"))
        await asyncio.sleep(0.2)  # time enough to read the balance of before, if it did not wait
    assert await reversal == "disputed"
    assert await balance_of(mock, bearer) == "0.00"
    assert (await payment_of(mock, bearer))["owed_znc"] == "6.00"

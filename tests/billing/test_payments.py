"""Payments: opened, paid, given up, confirmed; webhooks signed, replayed and forged."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from tests.kit.api import BOB, buy, call, sign_up, sign_up_admin
from tests.kit.gates import GateClient, MakeGate
from tests.kit.payments import MOCK, assert_whole, balance_of, mock_event, open_payment, signed
from zenzefi.billing.models import payment_events, payments
from zenzefi.billing.payments import PAYMENTS
from zenzefi.billing.providers.base import Event, Outcome
from zenzefi.db.engine import DATABASE


async def test_a_payment_is_opened_pending_and_cancelled(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    body = {"amount_znc": "100", "return_url": "https://gate.example/done"}
    status, response = await call(gate, "POST", "/currency/purchase", bearer=bearer, json=body)
    assert status == 201
    assert (response["amount_znc"], response["amount_rub"]) == ("100.00", "1000.00")
    assert response["status"] == "pending"
    assert response["payment_url"].startswith("http")
    _, listed = await call(gate, "GET", "/currency/payments", bearer=bearer)
    assert [row["payment_id"] for row in listed["items"]] == [response["payment_id"]]
    path = f"/currency/payments/{response['payment_id']}"
    bob = await sign_up(gate, BOB)
    assert (await call(gate, "POST", f"{path}/cancel", bearer=bob))[0] == 404
    assert (await call(gate, "POST", f"{path}/check", bearer=bearer))[1]["status"] == "pending"
    assert (await call(gate, "POST", f"{path}/cancel", bearer=bearer))[1]["status"] == "cancelled"
    assert (await call(gate, "POST", f"{path}/cancel", bearer=bearer))[0] == 409


async def test_a_return_address_that_is_none_is_refused(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    for url in (
        *("javascript:alert(1)", "//evil", "/relative", "https://u@h/", "http://[", 5),
        *("x" * 3000, "https://h\\@evil/", "https://h/\n"),
    ):
        body = {"amount_znc": "100", "return_url": url}
        status, _ = await call(gate, "POST", "/currency/purchase", bearer=bearer, json=body)
        assert status == 422, url


async def test_an_administrator_confirms_a_manual_payment_once(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    admin = await sign_up_admin(gate)
    body = {"amount_znc": "100", "return_url": "https://gate.example/done"}
    _, opened = await call(gate, "POST", "/currency/purchase", bearer=bearer, json=body)
    path = f"/admin/payments/{opened['payment_id']}/confirm"
    assert (await call(gate, "POST", path, bearer=bearer))[0] == 403
    for _ in range(2):
        status, response = await call(gate, "POST", path, bearer=admin)
        assert (status, response["status"]) == (200, "succeeded")
    assert await balance_of(gate, bearer) == "100.00"


@pytest.fixture
async def mock(make_gate: MakeGate) -> GateClient:
    return await make_gate(**MOCK)


async def test_a_hundred_replays_of_a_webhook_credit_once(mock: GateClient) -> None:
    bearer = await sign_up(mock)
    event = signed(mock_event(await open_payment(mock, bearer), "paid"))
    responses = await asyncio.gather(
        *(call(mock, "POST", "/webhooks/payment/mock", **event) for _ in range(100))
    )
    assert {status for status, _ in responses} == {200}
    assert sorted(response["outcome"] for _, response in responses)[0] == "credited"
    assert await balance_of(mock, bearer) == "10.00"
    await assert_whole(mock)


async def test_different_events_about_one_payment_credit_once(mock: GateClient) -> None:
    bearer = await sign_up(mock)
    payment_id = await open_payment(mock, bearer)
    for _ in range(3):
        event = signed(mock_event(payment_id, "paid"))
        assert (await call(mock, "POST", "/webhooks/payment/mock", **event))[0] == 200
    assert await balance_of(mock, bearer) == "10.00"


@pytest.mark.parametrize("change", [{"amount": "99.99"}, {"currency": "USD"}, {"amount": None}])
async def test_another_amount_or_currency_is_not_credited(
    mock: GateClient, change: dict[str, Any]
) -> None:
    bearer = await sign_up(mock)
    event = signed(mock_event(await open_payment(mock, bearer), "paid", **change))
    status, response = await call(mock, "POST", "/webhooks/payment/mock", **event)
    assert status == 200
    assert response["outcome"].startswith("refused")
    assert await balance_of(mock, bearer) == "0.00"


async def test_a_webhook_with_a_wrong_signature_is_refused(mock: GateClient) -> None:
    bearer = await sign_up(mock)
    event = signed(mock_event(await open_payment(mock, bearer), "paid"))
    tampered = {**event, "data": event["data"].replace(b"100.00", b"900.00")}
    status, response = await call(mock, "POST", "/webhooks/payment/mock", **tampered)
    assert (status, response["code"]) == (400, "webhook_rejected")
    unsigned = {"data": event["data"]}
    assert (await call(mock, "POST", "/webhooks/payment/mock", **unsigned))[0] == 400
    assert await balance_of(mock, bearer) == "0.00"


async def test_a_refund_takes_back_and_a_replay_does_not_take_more(mock: GateClient) -> None:
    bearer = await sign_up(mock)
    payment_id = await open_payment(mock, bearer)
    for one in (
        mock_event(payment_id, "paid"),
        mock_event(payment_id, "refunded", "30.00"),
        mock_event(payment_id, "refunded", "30.00"),
        mock_event(payment_id, "refunded", "100.00"),
    ):
        await call(mock, "POST", "/webhooks/payment/mock", **signed(one))
    assert await balance_of(mock, bearer) == "0.00"
    (payment,) = (await call(mock, "GET", "/currency/payments", bearer=bearer))[1]["items"]
    assert (payment["status"], payment["reversed_znc"]) == ("refunded", "10.00")
    await assert_whole(mock)


async def test_a_refund_before_its_payment_nets_out(mock: GateClient) -> None:
    bearer = await sign_up(mock)
    payment_id = await open_payment(mock, bearer)
    for one in (mock_event(payment_id, "refunded", "40.00"), mock_event(payment_id, "paid")):
        await call(mock, "POST", "/webhooks/payment/mock", **signed(one))
    assert await balance_of(mock, bearer) == "6.00"
    await assert_whole(mock)


async def test_what_was_spent_before_a_refund_is_noted_as_missing(make_gate: MakeGate) -> None:
    gate = await make_gate(**MOCK, token_price_1h="7.00")
    bearer = await sign_up(gate)
    payment_id = await open_payment(gate, bearer)
    await call(gate, "POST", "/webhooks/payment/mock", **signed(mock_event(payment_id, "paid")))
    await buy(gate, bearer, duration_hours=1)
    event = signed(mock_event(payment_id, "disputed"))
    await call(gate, "POST", "/webhooks/payment/mock", **event)
    assert await balance_of(gate, bearer) == "0.00"
    async with gate.app[DATABASE].read() as connection:
        row = (await connection.execute(select(payments))).one()
    assert (str(row.reversed_znc), str(row.shortfall_znc)) == ("10.00", "7.00")
    event = signed(mock_event(payment_id, "dispute_won"))
    await call(gate, "POST", "/webhooks/payment/mock", **event)
    assert await balance_of(gate, bearer) == "3.00"
    await assert_whole(gate)


async def test_an_expired_payment_that_is_paid_after_all_is_credited(mock: GateClient) -> None:
    bearer = await sign_up(mock)
    payment_id = await open_payment(mock, bearer)
    for kind in ("expired", "paid", "expired", "failed"):
        await call(mock, "POST", "/webhooks/payment/mock", **signed(mock_event(payment_id, kind)))
    assert await balance_of(mock, bearer) == "10.00"
    (payment,) = (await call(mock, "GET", "/currency/payments", bearer=bearer))[1]["items"]
    assert payment["status"] == "succeeded"


async def test_an_event_about_another_providers_payment_touches_nothing(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(payment_providers=["mock", "manual"], debug=True)
    bearer = await sign_up(gate)
    body = {"amount_znc": "10", "return_url": "https://gate.example/", "provider": "manual"}
    _, opened = await call(gate, "POST", "/currency/purchase", bearer=bearer, json=body)
    event = signed(mock_event(opened["payment_id"], "paid"))
    _, response = await call(gate, "POST", "/webhooks/payment/mock", **event)
    assert response["outcome"] == "unknown payment"
    assert await balance_of(gate, bearer) == "0.00"
    async with gate.app[DATABASE].read() as connection:
        assert len((await connection.execute(select(payment_events))).all()) == 1


async def test_a_queried_status_is_applied_like_a_webhook(mock: GateClient) -> None:
    bearer = await sign_up(mock)
    payment_id = await open_payment(mock, bearer)
    outcome = await mock.app[PAYMENTS].apply(
        "mock",
        Event(
            *("status-1", "status", Outcome.PAID, UUID(payment_id)),
            amount=Decimal("100.00"),
            currency="RUB",
        ),
    )
    assert outcome == "credited"
    assert await balance_of(mock, bearer) == "10.00"

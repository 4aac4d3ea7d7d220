"""Webhooks of Stripe: signatures, and the events of payments, refunds and disputes."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import pytest

from tests.kit.api import call, sign_up
from tests.kit.gates import GateClient, MakeGate
from tests.kit.payments import assert_whole, balance_of
from tests.kit.stripe import (
    STRIPE,
    STRIPE_SECRET,
    pending_stripe_payment,
    send_stripe_event,
    stripe_event,
)


@pytest.mark.parametrize("secret", [STRIPE_SECRET, "whsec_test_second"])
async def test_stripes_signature_is_checked_with_either_secret(
    make_gate: MakeGate, secret: str
) -> None:
    gate = await make_gate(**STRIPE)
    bearer = await sign_up(gate)
    session = await pending_stripe_payment(gate)
    event = stripe_event("checkout.session.completed", session, secret)
    for outcome in ("credited", "replay"):
        status, response = await call(gate, "POST", "/webhooks/payment/stripe", **event)
        assert (status, response["outcome"]) == (200, outcome)
    assert await balance_of(gate, bearer) == "10.00"


async def test_stripes_old_forged_and_unsigned_webhooks_are_refused(make_gate: MakeGate) -> None:
    gate = await make_gate(**STRIPE)
    bearer = await sign_up(gate)
    session = await pending_stripe_payment(gate)
    kind = "checkout.session.completed"
    old = stripe_event(kind, session, STRIPE_SECRET, time.time() - 3600)
    forged = stripe_event(kind, session, "whsec_of_somebody_else")
    unsigned = {"data": old["data"]}
    broken = {"data": b"\xff", "headers": old["headers"]}
    for event in (old, forged, unsigned, broken):
        assert (await call(gate, "POST", "/webhooks/payment/stripe", **event))[0] == 400
    assert await balance_of(gate, bearer) == "0.00"


async def test_stripes_delayed_payment_refund_and_dispute(make_gate: MakeGate) -> None:
    gate = await make_gate(**STRIPE)
    bearer = await sign_up(gate)
    session = await pending_stripe_payment(gate)
    charge = {"id": "ch_1", "object": "charge", "payment_intent": "pi_1", "amount_refunded": 2500}
    dispute = {"id": "dp_1", "object": "dispute", "payment_intent": "pi_1", "amount": 10000}
    dispute |= {"status": "needs_response"}
    steps: list[tuple[str, dict[str, Any], str]] = [
        ("checkout.session.completed", session | {"payment_status": "unpaid"}, "0.00"),
        ("checkout.session.async_payment_succeeded", session, "10.00"),
        ("charge.refunded", charge, "7.50"),
        ("customer.created", {"id": "cus_1"}, "7.50"),
        ("charge.dispute.created", dispute, "0.00"),
        ("charge.dispute.closed", dispute, "0.00"),
    ]
    for kind, value, left in steps:
        event = stripe_event(kind, value, STRIPE_SECRET)
        assert (await call(gate, "POST", "/webhooks/payment/stripe", **event))[0] == 200
        assert await balance_of(gate, bearer) == left, kind
    await assert_whole(gate)


async def test_disputes_and_refunds_as_stripe_reports_them(stripe_gate: GateClient) -> None:
    bearer = await sign_up(stripe_gate)
    await send_stripe_event(
        stripe_gate, "checkout.session.completed", await pending_stripe_payment(stripe_gate)
    )
    dispute = {"id": "dp_1", "object": "dispute", "payment_intent": "pi_1", "amount": 4000}
    refund = {"id": "re_1", "object": "refund", "payment_intent": "pi_1", "amount": 2500}
    steps: list[tuple[str, dict[str, Any], str]] = [
        # An inquiry moves no money; should it become a dispute, the money goes then.
        ("charge.dispute.created", dispute | {"status": "warning_needs_response"}, "10.00"),
        ("charge.dispute.closed", dispute | {"status": "warning_closed"}, "10.00"),
        ("charge.dispute.funds_withdrawn", dispute | {"status": "needs_response"}, "6.00"),
        ("charge.dispute.created", dispute | {"status": "needs_response"}, "6.00"),
        ("charge.dispute.funds_reinstated", dispute | {"status": "won"}, "10.00"),
        ("charge.dispute.closed", dispute | {"status": "won"}, "10.00"),
        ("refund.created", refund | {"status": "pending"}, "7.50"),
        (
            "charge.refunded",
            {"id": "ch_1", "payment_intent": "pi_1", "amount_refunded": 2500},
            "7.50",
        ),
        ("refund.updated", refund | {"status": "succeeded"}, "7.50"),
        ("refund.failed", refund | {"status": "failed"}, "10.00"),
        ("charge.dispute.closed", dispute | {"id": "dp_2", "status": "lost"}, "10.00"),
    ]
    for kind, value, left in steps:
        await send_stripe_event(stripe_gate, kind, value | {"currency": "rub", "metadata": {}})
        assert await balance_of(stripe_gate, bearer) == left, kind
    await assert_whole(stripe_gate)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        # A payment link takes client_reference_id from its address: a buyer can change it.
        ({"id": "cs_link", "metadata": {}}, "unknown payment"),
        ({"id": "cs_link", "metadata": None}, "unknown payment"),
        ({"id": "cs_other"}, "refused: another checkout"),
        ({"amount_total": 100}, "refused: amount or currency differs"),
        ({"currency": "usd"}, "refused: amount or currency differs"),
        ({"metadata": {"payment_id": "no-uuid"}, "id": "cs_x"}, "unknown payment"),
    ],
)
async def test_a_session_that_is_not_the_payments_own_credits_nothing(
    stripe_gate: GateClient, change: dict[str, Any], outcome: str
) -> None:
    bearer = await sign_up(stripe_gate)
    session = await pending_stripe_payment(stripe_gate) | change
    assert await send_stripe_event(stripe_gate, "checkout.session.completed", session) == outcome
    assert await balance_of(stripe_gate, bearer) == "0.00"


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("t={now},v1={good}", 200),
        ("t={now},v1=00,v1={good},v0=xx", 200),  # while a secret is rolled Stripe signs with both
        ("t={now},v0={good}", 400),
        ("v1={good}", 400),
        ("t=,v1={good}", 400),
        ("t={now},v1=é", 400),
        ("t=" + "9" * 5000 + ",v1={good}", 400),
        ("", 400),
    ],
)
async def test_a_signature_is_read_as_stripe_documents_it(
    stripe_gate: GateClient, header: str, status: int
) -> None:
    await sign_up(stripe_gate)
    event = stripe_event(
        "checkout.session.completed", await pending_stripe_payment(stripe_gate), STRIPE_SECRET
    )
    stamp, good = (part.split("=")[1] for part in event["headers"]["Stripe-Signature"].split(","))
    event["headers"] = {"Stripe-Signature": header.format(now=stamp, good=good)}
    assert (await call(stripe_gate, "POST", "/webhooks/payment/stripe", **event))[0] == status


@pytest.mark.parametrize(("age", "status"), [(290, 200), (310, 400)])
async def test_a_webhook_is_good_for_five_minutes(
    stripe_gate: GateClient, age: float, status: int
) -> None:
    await sign_up(stripe_gate)
    session = await pending_stripe_payment(stripe_gate)
    event = stripe_event("checkout.session.completed", session, STRIPE_SECRET, time.time() - age)
    assert (await call(stripe_gate, "POST", "/webhooks/payment/stripe", **event))[0] == status


@pytest.mark.parametrize(
    "value", [[], "text", {"data": {"object": {}}}, {"id": 5, "type": "x", "data": {"object": 1}}]
)
async def test_a_signed_body_that_is_not_an_event_is_refused(
    stripe_gate: GateClient, value: Any
) -> None:
    raw = json.dumps(value).encode()
    stamp = int(time.time())
    signed = hmac.new(STRIPE_SECRET.encode(), f"{stamp}.".encode() + raw, hashlib.sha256)
    headers = {"Stripe-Signature": f"t={stamp},v1={signed.hexdigest()}"}
    status, response = await call(
        stripe_gate, "POST", "/webhooks/payment/stripe", data=raw, headers=headers
    )
    assert (status, response["code"]) == (400, "webhook_rejected")

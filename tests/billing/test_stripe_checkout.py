"""Stripe Checkout through the official SDK: payments, checks and refunds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from tests.kit.api import call, sign_up, sign_up_admin
from tests.kit.gates import GateClient, Stores, running_gate
from tests.kit.payments import balance_of, payment_of
from tests.kit.stripe import FakeStripe, pending_stripe_payment, send_stripe_event
from zenzefi.billing import payments as billing_payments
from zenzefi.billing.models import payments
from zenzefi.db.engine import DATABASE
from zenzefi.maintenance.housekeeping import Housekeeping


async def test_a_checkout_is_created_once_paid_and_refunded(
    fake_stripe: tuple[FakeStripe, str], stores: Stores
) -> None:
    stripe, url = fake_stripe
    settings = stores.settings | {
        "payment_providers": ["stripe"],
        "stripe_secret_key": "sk_test_none",
        "stripe_webhook_secret": ["whsec_none"],
        "stripe_api_base": url,
    }
    async with running_gate(**settings) as gate:
        admin, bearer = await sign_up_admin(gate), await sign_up(gate)
        body = {"amount_znc": "12.50", "return_url": "https://gate.example/done"}
        options: dict[str, Any] = {
            "bearer": bearer,
            "json": body,
            "headers": {"Idempotency-Key": "top-up"},
        }
        stripe.fails = True
        status, response = await call(gate, "POST", "/currency/purchase", **options)
        assert (status, response["code"]) == (503, "payment_provider_failed")
        stripe.fails = False
        stripe.requests.clear()
        for _ in range(2):
            status, response = await call(gate, "POST", "/currency/purchase", **options)
            assert (status, response["status"]) == (201, "pending")
            assert response["payment_url"] == "https://checkout.example/cs_test_1"
        ((method, path, form, key),) = stripe.requests
        assert (method, path) == ("POST", "/v1/checkout/sessions")
        assert form["line_items[0][price_data][unit_amount]"] == "12500"
        assert form["line_items[0][price_data][currency]"] == "rub"
        assert form["client_reference_id"] == response["payment_id"]
        assert form["success_url"] == "https://gate.example/done"
        assert key == f"checkout-{response['payment_id']}"

        check = f"/currency/payments/{response['payment_id']}/check"
        assert (await call(gate, "POST", check, bearer=bearer))[1]["status"] == "pending"
        stripe.session = {
            "status": "complete",
            "payment_status": "paid",
            "amount_total": 12500,
            "payment_intent": "pi_1",
            "client_reference_id": response["payment_id"],
        }
        for _ in range(2):
            assert (await call(gate, "POST", check, bearer=bearer))[1]["status"] == "succeeded"
        _, balance = await call(gate, "GET", "/currency/balance", bearer=bearer)
        assert balance["balance"] == "12.50"

        refund = f"/admin/payments/{response['payment_id']}/refund"
        stripe.requests.clear()
        status, _ = await call(gate, "POST", refund, bearer=admin)
        assert status == 200
        ((_, path, form, _),) = stripe.requests
        assert path == "/v1/refunds"
        assert (form["payment_intent"], form["amount"]) == ("pi_1", "12500")


async def test_an_amount_that_stripe_does_not_take_fails_the_payment(
    stripe_gate: GateClient, fake_stripe: tuple[FakeStripe, str]
) -> None:
    stripe, _ = fake_stripe
    bearer = await sign_up(stripe_gate)
    stripe.fails = True
    stripe.error = {"type": "invalid_request_error", "code": "amount_too_small", "message": "No"}
    options: dict[str, Any] = {"bearer": bearer, "headers": {"Idempotency-Key": "one"}}
    for _ in range(2):
        status, response = await call(
            stripe_gate, "POST", "/currency/purchase", json={"amount_znc": "0.01"}, **options
        )
        assert (status, response["code"]) == (400, "checkout_refused")
    assert (await payment_of(stripe_gate, bearer))["status"] == "failed"


async def test_a_hanging_stripe_times_out(
    stripe_gate: GateClient, fake_stripe: tuple[FakeStripe, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stripe, _ = fake_stripe
    monkeypatch.setattr(billing_payments, "_PROVIDER_TIMEOUT", 0.3)
    bearer = await sign_up(stripe_gate)
    stripe.hangs = True
    body = {"amount_znc": "5"}
    status, response = await call(
        stripe_gate, "POST", "/currency/purchase", bearer=bearer, json=body
    )
    assert (status, response["code"]) == (503, "payment_provider_failed")
    stripe.hangs = False
    # It stays pending, and looking at it goes on where it stopped.
    payment = await payment_of(stripe_gate, bearer)
    assert (payment["status"], payment["payment_url"]) == ("pending", None)
    check = f"/currency/payments/{payment['payment_id']}/check"
    _, checked = await call(stripe_gate, "POST", check, bearer=bearer)
    assert checked["payment_url"] == "https://checkout.example/cs_test_1"


@pytest.mark.parametrize("ended", ["expired", "cancelled"])
async def test_money_received_for_an_ended_payment_is_found_by_a_check(
    stripe_gate: GateClient, fake_stripe: tuple[FakeStripe, str], ended: str
) -> None:
    stripe, _ = fake_stripe
    bearer = await sign_up(stripe_gate)
    body = {"amount_znc": "5"}
    _, opened = await call(stripe_gate, "POST", "/currency/purchase", bearer=bearer, json=body)
    path = f"/currency/payments/{opened['payment_id']}"
    if ended == "cancelled":
        await call(stripe_gate, "POST", f"{path}/cancel", bearer=bearer)
    else:
        async with stripe_gate.app[DATABASE].begin() as connection:
            await connection.execute(
                update(payments).values(expires_at=datetime.now(UTC) - timedelta(hours=1))
            )
        await Housekeeping(
            stripe_gate.app[DATABASE], audit_retention=timedelta(1)
        ).expire_payments()
    assert (await call(stripe_gate, "GET", path, bearer=bearer))[1]["status"] == ended
    stripe.session = {"status": "complete", "payment_status": "paid", "amount_total": 5000}
    _, checked = await call(stripe_gate, "POST", f"{path}/check", bearer=bearer)
    assert checked["status"] == "succeeded"
    assert await balance_of(stripe_gate, bearer) == "5.00"


async def test_a_refund_requested_twice_is_made_once_and_again_after_a_failure(
    stripe_gate: GateClient, fake_stripe: tuple[FakeStripe, str]
) -> None:
    stripe, _ = fake_stripe
    await sign_up(stripe_gate)
    admin = await sign_up_admin(stripe_gate)
    session = await pending_stripe_payment(stripe_gate)
    await send_stripe_event(stripe_gate, "checkout.session.completed", session)
    path = f"/admin/payments/{session['metadata']['payment_id']}/refund"
    refund = {"id": "re_1", "payment_intent": "pi_1", "amount": 10000}

    async def ask() -> tuple[int, str | None]:
        status, _ = await call(stripe_gate, "POST", path, bearer=admin)
        return status, stripe.requests[-1][3]

    first = await ask()
    assert first[0] == 200
    assert await ask() == first
    await send_stripe_event(stripe_gate, "refund.created", refund | {"status": "pending"})
    assert (await ask())[0] == 409  # there is nothing left
    await send_stripe_event(stripe_gate, "refund.failed", refund | {"status": "failed"})
    again = await ask()
    assert again[0] == 200
    assert again != first

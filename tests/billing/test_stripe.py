"""Stripe Checkout by the official SDK, against a local server of the documented API shapes."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.billing.money import (
    assert_whole,
    balance_of,
)
from tests.conftest import GateClient, MakeGate, Stores, running_gate
from tests.kit import call, sign_up, sign_up_admin, user_id_of
from zenzefi.billing.models import payments
from zenzefi.db.engine import DATABASE

STRIPE_SECRET = "whsec_test_first"
STRIPE: dict[str, Any] = {
    "payment_providers": ["stripe"],
    "stripe_secret_key": "sk_test_none",
    "stripe_webhook_secret": [STRIPE_SECRET, "whsec_test_second"],
}
SESSION = {"id": "cs_test_1", "object": "checkout.session", "currency": "rub"}


class FakeStripe:
    """What the SDK asks for, and what a test wants answered."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], str | None]] = []
        self.session: dict[str, Any] = {"status": "open", "payment_status": "unpaid"}
        self.fails = False

    async def answer(self, request: web.Request) -> web.Response:
        form = {str(k): str(v) for k, v in (await request.post()).items()}
        key = request.headers.get("Idempotency-Key")
        self.asked.append((request.method, request.path, form, key))
        if self.fails:
            error = {"type": "api_error", "message": "out of order"}
            return web.json_response({"error": error}, status=400)
        if request.path == "/v1/refunds":
            return web.json_response({"id": "re_1", "object": "refund", "status": "succeeded"})
        body = SESSION | {"url": "https://checkout.example/cs_test_1", "expires_at": 4102444800}
        return web.json_response(body | self.session)


@pytest.fixture
async def fake() -> AsyncIterator[tuple[FakeStripe, str]]:
    stripe = FakeStripe()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", stripe.answer)
    async with TestServer(app) as server:
        yield stripe, str(server.make_url("/")).rstrip("/")


async def test_a_checkout_is_made_once_paid_and_given_back(
    fake: tuple[FakeStripe, str], stores: Stores
) -> None:
    stripe, url = fake
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
        status, answer = await call(gate, "POST", "/currency/purchase", **options)
        assert (status, answer["code"]) == (503, "payment_provider_failed")
        stripe.fails = False
        stripe.asked.clear()
        for _ in range(2):
            status, answer = await call(gate, "POST", "/currency/purchase", **options)
            assert (status, answer["status"]) == (201, "pending")
            assert answer["payment_url"] == "https://checkout.example/cs_test_1"
        ((method, path, form, key),) = stripe.asked
        assert (method, path) == ("POST", "/v1/checkout/sessions")
        assert form["line_items[0][price_data][unit_amount]"] == "12500"
        assert form["line_items[0][price_data][currency]"] == "rub"
        assert form["client_reference_id"] == answer["payment_id"]
        assert form["success_url"] == "https://gate.example/done"
        assert key == f"checkout-{answer['payment_id']}"

        check = f"/currency/payments/{answer['payment_id']}/check"
        assert (await call(gate, "POST", check, bearer=bearer))[1]["status"] == "pending"
        stripe.session = {
            "status": "complete",
            "payment_status": "paid",
            "amount_total": 12500,
            "payment_intent": "pi_1",
            "client_reference_id": answer["payment_id"],
        }
        for _ in range(2):
            assert (await call(gate, "POST", check, bearer=bearer))[1]["status"] == "succeeded"
        _, balance = await call(gate, "GET", "/currency/balance", bearer=bearer)
        assert balance["balance"] == "12.50"

        refund = f"/admin/payments/{answer['payment_id']}/refund"
        stripe.asked.clear()
        status, _ = await call(gate, "POST", refund, bearer=admin)
        assert status == 200
        ((_, path, form, _),) = stripe.asked
        assert path == "/v1/refunds"
        assert (form["payment_intent"], form["amount"]) == ("pi_1", "12500")


# --- webhooks


def _stripe(
    kind: str, value: dict[str, Any], secret: str, at: float | None = None
) -> dict[str, Any]:
    event = {"id": f"evt_{uuid4().hex}", "type": kind, "data": {"object": value}}
    raw = json.dumps(event, ensure_ascii=False).encode()
    stamp = int(time.time() if at is None else at)
    signed = hmac.new(secret.encode(), f"{stamp}.".encode() + raw, hashlib.sha256).hexdigest()
    return {"data": raw, "headers": {"Stripe-Signature": f"t={stamp},v1={signed}"}}


async def _stripe_payment(gate: GateClient) -> dict[str, Any]:
    """A payment whose checkout has been made: its Checkout Session as Stripe shows it."""
    user_id = await user_id_of(gate)
    payment_id = uuid4()
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(
            payments.insert().values(
                id=payment_id,
                user_id=user_id,
                provider="stripe",
                amount_znc=Decimal("10.00"),
                amount_rub=Decimal("100.00"),
                status="pending",
                reference="cs_test_1",
            )
        )
    return {
        "id": "cs_test_1",
        "object": "checkout.session",
        "client_reference_id": str(payment_id),
        "metadata": {"payment_id": str(payment_id)},
        "payment_intent": "pi_1",
        "amount_total": 10000,
        "currency": "rub",
        "payment_status": "paid",
        "note": "Оплата",
    }


@pytest.mark.parametrize("secret", [STRIPE_SECRET, "whsec_test_second"])
async def test_stripes_signature_is_checked_with_either_secret(
    make_gate: MakeGate, secret: str
) -> None:
    gate = await make_gate(**STRIPE)
    bearer = await sign_up(gate)
    session = await _stripe_payment(gate)
    event = _stripe("checkout.session.completed", session, secret)
    for outcome in ("credited", "replay"):
        status, answer = await call(gate, "POST", "/webhooks/payment/stripe", **event)
        assert (status, answer["outcome"]) == (200, outcome)
    assert await balance_of(gate, bearer) == "10.00"


async def test_stripes_old_forged_and_unsigned_webhooks_are_refused(make_gate: MakeGate) -> None:
    gate = await make_gate(**STRIPE)
    bearer = await sign_up(gate)
    session = await _stripe_payment(gate)
    kind = "checkout.session.completed"
    old = _stripe(kind, session, STRIPE_SECRET, time.time() - 3600)
    forged = _stripe(kind, session, "whsec_of_somebody_else")
    unsigned = {"data": old["data"]}
    broken = {"data": b"\xff", "headers": old["headers"]}
    for event in (old, forged, unsigned, broken):
        assert (await call(gate, "POST", "/webhooks/payment/stripe", **event))[0] == 400
    assert await balance_of(gate, bearer) == "0.00"


async def test_stripes_delayed_payment_refund_and_dispute(make_gate: MakeGate) -> None:
    gate = await make_gate(**STRIPE)
    bearer = await sign_up(gate)
    session = await _stripe_payment(gate)
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
        event = _stripe(kind, value, STRIPE_SECRET)
        assert (await call(gate, "POST", "/webhooks/payment/stripe", **event))[0] == 200
        assert await balance_of(gate, bearer) == left, kind
    await assert_whole(gate)

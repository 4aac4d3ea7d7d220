"""Stripe Checkout by the official SDK, against a local server of the documented API shapes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlalchemy import update

from tests.kit.api import call, sign_up, sign_up_admin, user_id_of
from tests.kit.gates import SECRET_KEY, GateClient, MakeGate, Stores, running_gate
from tests.kit.payments import assert_whole, balance_of, payment_of
from zenzefi.billing import payments as billing_payments
from zenzefi.billing.models import payments
from zenzefi.db.engine import DATABASE
from zenzefi.maintenance.housekeeping import Housekeeping

STRIPE_SECRET = "whsec_test_first"
STRIPE: dict[str, Any] = {
    "payment_providers": ["stripe"],
    "stripe_secret_key": "sk_test_none",
    "stripe_webhook_secret": [STRIPE_SECRET, "whsec_test_second"],
}
SESSION = {"id": "cs_test_1", "object": "checkout.session", "currency": "rub"}


class FakeStripe:
    """The requests of the SDK, and the responses of a test."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], str | None]] = []
        self.session: dict[str, Any] = {"status": "open", "payment_status": "unpaid"}
        self.fails = False
        self.error: dict[str, Any] = {"type": "api_error", "message": "out of order"}
        self.silent = False

    async def answer(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer sk_test_none"
        assert request.headers["Stripe-Version"]
        if self.silent:
            await asyncio.sleep(30)
        form = {str(k): str(v) for k, v in (await request.post()).items()}
        key = request.headers.get("Idempotency-Key")
        self.asked.append((request.method, request.path, form, key))
        if self.fails:
            return web.json_response({"error": self.error}, status=400)
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


# --- the same on the embedded default alone: what follows does not depend on the database


@pytest.fixture
async def shop(
    fake: tuple[FakeStripe, str], sqlite_database: str, tmp_path: Path
) -> AsyncIterator[GateClient]:
    settings = {"secret_key": SECRET_KEY, "data_dir": tmp_path / "gate", "stripe_api_base": fake[1]}
    async with running_gate(**settings, **STRIPE) as gate:
        yield gate


async def _hears(gate: GateClient, kind: str, value: dict[str, Any]) -> str:
    event = _stripe(kind, value, STRIPE_SECRET)
    status, answer = await call(gate, "POST", "/webhooks/payment/stripe", **event)
    assert status == 200, answer
    return str(answer["outcome"])


async def test_disputes_and_refunds_as_stripe_tells_them(shop: GateClient) -> None:
    bearer = await sign_up(shop)
    await _hears(shop, "checkout.session.completed", await _stripe_payment(shop))
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
        await _hears(shop, kind, value | {"currency": "rub", "metadata": {}})
        assert await balance_of(shop, bearer) == left, kind
    await assert_whole(shop)


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
    shop: GateClient, change: dict[str, Any], outcome: str
) -> None:
    bearer = await sign_up(shop)
    session = await _stripe_payment(shop) | change
    assert await _hears(shop, "checkout.session.completed", session) == outcome
    assert await balance_of(shop, bearer) == "0.00"


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
    shop: GateClient, header: str, status: int
) -> None:
    await sign_up(shop)
    event = _stripe("checkout.session.completed", await _stripe_payment(shop), STRIPE_SECRET)
    stamp, good = (part.split("=")[1] for part in event["headers"]["Stripe-Signature"].split(","))
    event["headers"] = {"Stripe-Signature": header.format(now=stamp, good=good)}
    assert (await call(shop, "POST", "/webhooks/payment/stripe", **event))[0] == status


@pytest.mark.parametrize(("age", "status"), [(290, 200), (310, 400)])
async def test_a_webhook_is_good_for_five_minutes(
    shop: GateClient, age: float, status: int
) -> None:
    await sign_up(shop)
    session = await _stripe_payment(shop)
    event = _stripe("checkout.session.completed", session, STRIPE_SECRET, time.time() - age)
    assert (await call(shop, "POST", "/webhooks/payment/stripe", **event))[0] == status


@pytest.mark.parametrize(
    "value", [[], "text", {"data": {"object": {}}}, {"id": 5, "type": "x", "data": {"object": 1}}]
)
async def test_what_is_signed_but_no_event_is_refused(shop: GateClient, value: Any) -> None:
    raw = json.dumps(value).encode()
    stamp = int(time.time())
    signed = hmac.new(STRIPE_SECRET.encode(), f"{stamp}.".encode() + raw, hashlib.sha256)
    headers = {"Stripe-Signature": f"t={stamp},v1={signed.hexdigest()}"}
    status, answer = await call(shop, "POST", "/webhooks/payment/stripe", data=raw, headers=headers)
    assert (status, answer["code"]) == (400, "webhook_rejected")


async def test_an_amount_that_stripe_does_not_take_fails_the_payment(
    shop: GateClient, fake: tuple[FakeStripe, str]
) -> None:
    stripe, _ = fake
    bearer = await sign_up(shop)
    stripe.fails = True
    stripe.error = {"type": "invalid_request_error", "code": "amount_too_small", "message": "No"}
    options: dict[str, Any] = {"bearer": bearer, "headers": {"Idempotency-Key": "one"}}
    for _ in range(2):
        status, answer = await call(
            shop, "POST", "/currency/purchase", json={"amount_znc": "0.01"}, **options
        )
        assert (status, answer["code"]) == (400, "checkout_refused")
    assert (await payment_of(shop, bearer))["status"] == "failed"


async def test_a_silent_stripe_is_not_waited_for_for_ever(
    shop: GateClient, fake: tuple[FakeStripe, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stripe, _ = fake
    monkeypatch.setattr(billing_payments, "_PROVIDER_TIMEOUT", 0.3)
    bearer = await sign_up(shop)
    stripe.silent = True
    body = {"amount_znc": "5"}
    status, answer = await call(shop, "POST", "/currency/purchase", bearer=bearer, json=body)
    assert (status, answer["code"]) == (503, "payment_provider_failed")
    stripe.silent = False
    # It stays pending, and looking at it goes on where it stopped.
    payment = await payment_of(shop, bearer)
    assert (payment["status"], payment["payment_url"]) == ("pending", None)
    check = f"/currency/payments/{payment['payment_id']}/check"
    _, checked = await call(shop, "POST", check, bearer=bearer)
    assert checked["payment_url"] == "https://checkout.example/cs_test_1"


@pytest.mark.parametrize("ended", ["expired", "cancelled"])
async def test_money_that_came_for_an_ended_payment_is_found_by_checking(
    shop: GateClient, fake: tuple[FakeStripe, str], ended: str
) -> None:
    stripe, _ = fake
    bearer = await sign_up(shop)
    body = {"amount_znc": "5"}
    _, opened = await call(shop, "POST", "/currency/purchase", bearer=bearer, json=body)
    path = f"/currency/payments/{opened['payment_id']}"
    if ended == "cancelled":
        await call(shop, "POST", f"{path}/cancel", bearer=bearer)
    else:
        async with shop.app[DATABASE].begin() as connection:
            await connection.execute(
                update(payments).values(expires_at=datetime.now(UTC) - timedelta(hours=1))
            )
        await Housekeeping(shop.app[DATABASE], audit_retention=timedelta(1)).expire_payments()
    assert (await call(shop, "GET", path, bearer=bearer))[1]["status"] == ended
    stripe.session = {"status": "complete", "payment_status": "paid", "amount_total": 5000}
    _, checked = await call(shop, "POST", f"{path}/check", bearer=bearer)
    assert checked["status"] == "succeeded"
    assert await balance_of(shop, bearer) == "5.00"


async def test_a_refund_asked_twice_is_one_and_after_a_failure_another(
    shop: GateClient, fake: tuple[FakeStripe, str]
) -> None:
    stripe, _ = fake
    await sign_up(shop)
    admin = await sign_up_admin(shop)
    session = await _stripe_payment(shop)
    await _hears(shop, "checkout.session.completed", session)
    path = f"/admin/payments/{session['metadata']['payment_id']}/refund"
    refund = {"id": "re_1", "payment_intent": "pi_1", "amount": 10000}

    async def ask() -> tuple[int, str | None]:
        status, _ = await call(shop, "POST", path, bearer=admin)
        return status, stripe.asked[-1][3]

    first = await ask()
    assert first[0] == 200
    assert await ask() == first
    await _hears(shop, "refund.created", refund | {"status": "pending"})
    assert (await ask())[0] == 409  # there is nothing left
    await _hears(shop, "refund.failed", refund | {"status": "failed"})
    again = await ask()
    assert again[0] == 200
    assert again != first

"""A server of Stripe's documented API shapes, and signed Stripe webhooks."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from decimal import Decimal
from typing import Any
from uuid import uuid4

from aiohttp import web

from tests.kit.api import call, user_id_of
from tests.kit.gates import GateClient
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
    """The requests of the SDK, and the responses of a test."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], str | None]] = []
        self.session: dict[str, Any] = {"status": "open", "payment_status": "unpaid"}
        self.fails = False
        self.error: dict[str, Any] = {"type": "api_error", "message": "out of order"}
        self.hangs = False

    async def respond(self, request: web.Request) -> web.Response:
        """Record one request and respond to it."""
        assert request.headers["Authorization"] == "Bearer sk_test_none"
        assert request.headers["Stripe-Version"]
        if self.hangs:
            await asyncio.sleep(30)
        form = {str(k): str(v) for k, v in (await request.post()).items()}
        key = request.headers.get("Idempotency-Key")
        self.requests.append((request.method, request.path, form, key))
        if self.fails:
            return web.json_response({"error": self.error}, status=400)
        if request.path == "/v1/refunds":
            return web.json_response({"id": "re_1", "object": "refund", "status": "succeeded"})
        body = SESSION | {"url": "https://checkout.example/cs_test_1", "expires_at": 4102444800}
        return web.json_response(body | self.session)


def stripe_event(
    kind: str, value: dict[str, Any], secret: str, at: float | None = None
) -> dict[str, Any]:
    """A signed webhook, as options of a call; ``at`` is its Unix time, by default now."""
    event = {"id": f"evt_{uuid4().hex}", "type": kind, "data": {"object": value}}
    raw = json.dumps(event, ensure_ascii=False).encode()
    stamp = int(time.time() if at is None else at)
    signed = hmac.new(secret.encode(), f"{stamp}.".encode() + raw, hashlib.sha256).hexdigest()
    return {"data": raw, "headers": {"Stripe-Signature": f"t={stamp},v1={signed}"}}


async def pending_stripe_payment(gate: GateClient) -> dict[str, Any]:
    """Store a payment that waits for its checkout; returns the Checkout Session of Stripe."""
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


async def send_stripe_event(gate: GateClient, kind: str, value: dict[str, Any]) -> str:
    """Send one webhook of Stripe; returns its outcome."""
    event = stripe_event(kind, value, STRIPE_SECRET)
    status, response = await call(gate, "POST", "/webhooks/payment/stripe", **event)
    assert status == 200, response
    return str(response["outcome"])

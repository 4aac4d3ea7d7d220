"""Stripe Checkout by the official SDK, against a local server of the documented API shapes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.conftest import Stores, running_gate
from tests.kit import call, sign_up, sign_up_admin

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

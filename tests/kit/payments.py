"""Helpers for tests of money: a gate with mock payments, and its signed webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any
from uuid import uuid4

from tests.kit.api import call
from tests.kit.gates import SECRET_KEY, GateClient
from zenzefi.db.engine import DATABASE
from zenzefi.maintenance.reconciliation import reconcile

MOCK: dict[str, Any] = {"payment_providers": ["mock"], "debug": True}


async def balance_of(gate: GateClient, bearer: str) -> str:
    """The balance, as the API reports it."""
    status, response = await call(gate, "GET", "/currency/balance", bearer=bearer)
    assert status == 200
    assert response["currency"] == "ZNC"
    return str(response["balance"])


async def assert_whole(gate: GateClient) -> None:
    """The books are in order."""
    assert (await reconcile(gate.app[DATABASE])).discrepancies == []


async def open_payment(gate: GateClient, bearer: str, amount: str = "10") -> str:
    """A pending payment (10 ZNC are 100 roubles): its id."""
    body = {"amount_znc": amount, "return_url": "https://gate.example/"}
    status, response = await call(gate, "POST", "/currency/purchase", bearer=bearer, json=body)
    assert status == 201, response
    return str(response["payment_id"])


def mock_event(
    payment_id: str, kind: str, amount: str | None = "100.00", **more: Any
) -> dict[str, Any]:
    """An event of the mock provider about a payment."""
    return {
        "id": f"evt-{uuid4()}",
        "type": kind,
        "payment_id": payment_id,
        "amount": amount,
        "currency": "RUB",
    } | more


def signed(body: dict[str, Any]) -> dict[str, Any]:
    """A webhook of the mock provider, as options of a call."""
    raw = json.dumps(body).encode()
    signature = hmac.new(SECRET_KEY.encode(), raw, hashlib.sha256).hexdigest()
    return {"data": raw, "headers": {"X-Mock-Signature": signature}}


async def send_webhook(
    gate: GateClient, payment_id: str, kind: str, *amount: str, **more: Any
) -> str:
    """Send one webhook of the mock provider; what came of it."""
    sent = signed(mock_event(payment_id, kind, *amount, **more))
    status, response = await call(gate, "POST", "/webhooks/payment/mock", **sent)
    assert status == 200, response
    return str(response["outcome"])


async def payment_of(gate: GateClient, bearer: str) -> dict[str, Any]:
    """The only payment, as its owner sees it."""
    _, listed = await call(gate, "GET", "/currency/payments", bearer=bearer)
    (payment,) = listed["items"]
    return dict(payment)

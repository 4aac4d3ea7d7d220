"""Idempotency-Key on every call that moves money: one response, moved once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from tests.kit.api import BOB, buy, call, give, sign_up, sign_up_admin, user_id_of
from tests.kit.gates import GateClient, MakeGate, Stores, running_gate
from tests.kit.payments import MOCK, assert_whole, balance_of, open_payment, send_webhook
from zenzefi.api import idempotency
from zenzefi.api.idempotency import idempotency_keys
from zenzefi.billing.payments import PAYMENTS
from zenzefi.db.engine import DATABASE

SHOP: dict[str, Any] = MOCK | {
    "payment_providers": ["mock", "manual"],
    "token_price_1h": "1.00",
    "rate_limit_api": "off",
}


class Shop:
    """A user with 10 ZNC, an administrator, and each call that moves money."""

    def __init__(self, gate: GateClient) -> None:
        self.gate = gate

    async def ready(self) -> Shop:
        self.bearer, self.admin = await sign_up(self.gate), await sign_up_admin(self.gate)
        await give(self.gate, "10.00")
        self.user_id = await user_id_of(self.gate)
        return self

    async def purchase(self) -> tuple[str, str, str, Any]:
        return "POST", "/tokens/purchase", self.bearer, {"duration_hours": 1}

    async def revocation(self) -> tuple[str, str, str, Any]:
        token = await buy(self.gate, self.bearer, duration_hours=1)
        return "DELETE", f"/tokens/{token['id']}", self.bearer, None

    async def bundle(self) -> tuple[str, str, str, Any]:
        body = {"name": "B", "duration_hours": 1, "token_count": 3, "price_znc": "2.00"}
        _, made = await call(self.gate, "POST", "/admin/bundles", bearer=self.admin, json=body)
        return "POST", f"/bundles/{made['id']}/purchase", self.bearer, None

    async def top_up(self) -> tuple[str, str, str, Any]:
        return "POST", "/currency/purchase", self.bearer, {"amount_znc": "5"}

    async def mock_top_up(self) -> tuple[str, str, str, Any]:
        return "POST", "/currency/mock-purchase", self.bearer, {"amount": "5"}

    async def credit(self) -> tuple[str, str, str, Any]:
        body = {"amount": "5", "reason": "for the test"}
        return "POST", f"/admin/users/{self.user_id}/credit", self.admin, body

    async def confirmation(self) -> tuple[str, str, str, Any]:
        body = {"amount_znc": "5", "provider": "manual"}
        _, opened = await call(
            *(self.gate, "POST", "/currency/purchase"), bearer=self.bearer, json=body
        )
        return "POST", f"/admin/payments/{opened['payment_id']}/confirm", self.admin, None

    async def refund(self) -> tuple[str, str, str, Any]:
        payment_id = await open_payment(self.gate, self.bearer)
        await send_webhook(self.gate, payment_id, "paid")
        return "POST", f"/admin/payments/{payment_id}/refund", self.admin, None


CALLS: dict[str, tuple[Callable[[Shop], Awaitable[tuple[str, str, str, Any]]], str]] = {
    "purchase": (Shop.purchase, "9.00"),
    "revocation": (Shop.revocation, "10.00"),
    "bundle": (Shop.bundle, "8.00"),
    "top-up": (Shop.top_up, "10.00"),
    "mock top-up": (Shop.mock_top_up, "15.00"),
    "credit": (Shop.credit, "15.00"),
    "confirmation": (Shop.confirmation, "15.00"),
    "refund": (Shop.refund, "10.00"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_twenty_concurrent_calls_move_money_once_with_one_response(
    make_gate: MakeGate, name: str
) -> None:
    gate = await make_gate(**SHOP)
    shop = await Shop(gate).ready()
    prepare, left = CALLS[name]
    method, path, bearer, body = await prepare(shop)

    async def send(key: str = "one") -> tuple[int, Any]:
        headers = {"Idempotency-Key": key}
        return await call(gate, method, path, bearer=bearer, json=body, headers=headers)

    responses = await asyncio.gather(*(send() for _ in range(20)))
    first_status, first = responses[0]
    assert first_status in (200, 201)
    assert all(response == (first_status, first) for response in responses)
    assert await balance_of(gate, shop.bearer) == left
    if name in ("purchase", "mock top-up", "credit"):
        await send("another")  # payments that are paid, refunded or confirmed are final
        assert await balance_of(gate, shop.bearer) != left
    assert await send() == (first_status, first)  # also when things have moved on
    await assert_whole(gate)


@pytest.mark.parametrize("name", ["purchase", "top-up", "mock top-up", "credit"])
async def test_another_body_under_the_same_key_is_refused(make_gate: MakeGate, name: str) -> None:
    gate = await make_gate(**SHOP)
    shop = await Shop(gate).ready()
    method, path, bearer, body = await CALLS[name][0](shop)
    options: dict[str, Any] = {"bearer": bearer, "headers": {"Idempotency-Key": '"one"'}}
    assert (await call(gate, method, path, json=body, **options))[0] in (200, 201)
    before = await balance_of(gate, shop.bearer)
    (amount,) = {"duration_hours", "amount", "amount_znc"} & body.keys()
    changed = body | {amount: 12}
    status, response = await call(gate, method, path, json=changed, **options)
    assert (status, response["detail"][0]["type"]) == (422, "idempotency_key_reused")
    assert await balance_of(gate, shop.bearer) == before


async def test_a_key_is_not_good_for_another_call(make_gate: MakeGate) -> None:
    gate = await make_gate(**SHOP)
    shop = await Shop(gate).ready()
    options: dict[str, Any] = {"bearer": shop.bearer, "headers": {"Idempotency-Key": "one"}}
    first, second = await shop.revocation(), await shop.revocation()
    assert (await call(gate, *first[:2], **options))[0] == 200
    assert (await call(gate, *second[:2], **options))[0] == 422
    assert await balance_of(gate, shop.bearer) == "9.00"


async def test_keys_of_two_users_are_two_keys(make_gate: MakeGate) -> None:
    gate = await make_gate(**SHOP)
    bearers = [await sign_up(gate), await sign_up(gate, BOB)]
    headers = {"Idempotency-Key": "one"}
    for bearer in bearers:
        body = {"amount": "5"}
        status, _ = await call(
            *(gate, "POST", "/currency/mock-purchase"), bearer=bearer, json=body, headers=headers
        )
        assert status == 201
        assert await balance_of(gate, bearer) == "5.00"


async def test_a_call_during_the_first_waits_and_then_gets_retry_after(
    cluster: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "_LOCK_TIMEOUT", "200ms")
    async with running_gate(**(cluster.settings | SHOP)) as gate:
        await _told_to_retry(gate)


async def _told_to_retry(gate: GateClient) -> None:
    shop = await Shop(gate).ready()
    database = gate.app[DATABASE]
    body, headers = {"duration_hours": 1}, {"Idempotency-Key": "one"}
    async with database.begin() as connection:  # the first, in the middle of its work
        await connection.execute(
            idempotency_keys.insert().values(
                id=uuid4(),
                user_id=shop.user_id,
                key="one",
                operation="tokens.purchase",
                request_hash=b"\0" * 32,
            )
        )
        url = "/api/v1/tokens/purchase"
        headers["Authorization"] = f"Bearer {shop.bearer}"
        async with gate.post(url, json=body, headers=headers) as response:
            assert response.status == 409
            assert response.headers["Retry-After"] == "1"
            assert (await response.json())["code"] == "idempotency_in_flight"
        await connection.rollback()
    async with gate.post("/api/v1/tokens/purchase", json=body, headers=headers) as response:
        assert response.status == 201  # the first came to nothing, so this one is the first


async def test_a_response_that_cannot_be_decrypted_moves_nothing_again(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(**SHOP)
    shop = await Shop(gate).ready()
    options: dict[str, Any] = {"bearer": shop.bearer, "headers": {"Idempotency-Key": "one"}}
    body = {"duration_hours": 1}
    await call(gate, "POST", "/tokens/purchase", json=body, **options)
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(update(idempotency_keys).values(response_body=b"unreadable"))
    status, response = await call(gate, "POST", "/tokens/purchase", json=body, **options)
    assert (status, response["code"]) == (409, "conflict")
    assert await balance_of(gate, shop.bearer) == "9.00"


async def test_a_retry_after_a_crash_before_the_provider_continues_the_call(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = await make_gate(**SHOP)
    bearer = await sign_up(gate)
    options: dict[str, Any] = {"bearer": bearer, "headers": {"Idempotency-Key": "one"}}
    options["json"] = {"amount_znc": "5"}

    async def broken(checkout: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(gate.app[PAYMENTS].providers["mock"], "create_checkout", broken)
        status, response = await call(gate, "POST", "/currency/purchase", **options)
        assert (status, response["code"]) == (503, "payment_provider_failed")
    status, response = await call(gate, "POST", "/currency/purchase", **options)
    assert (status, response["status"]) == (201, "pending")
    assert UUID(response["payment_id"])
    _, listed = await call(gate, "GET", "/currency/payments", bearer=bearer)
    assert listed["total"] == 1

"""Access tokens over HTTP: each test on both kinds of stores."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from tests.kit.api import ALICE, BOB, buy, call, give, sign_up
from tests.kit.gates import SECRET_KEY, GateClient, MakeGate
from zenzefi.db.engine import DATABASE
from zenzefi.tokens.models import access_tokens
from zenzefi.tokens.validation import TOKEN_VALIDATOR

PRICED = {"token_price_1h": "1.00", "token_price_24h": "18.00"}


async def test_a_free_token_is_bought_and_listed(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    token = await buy(gate, bearer)
    assert re.fullmatch(r"[A-Za-z0-9_-]{64}", token["token"])
    assert token["id"] == token["token_id"]
    assert (token["duration_hours"], token["scope"], token["cost_znc"]) == (24, "full", "0.00")
    assert token["activated_at"] is token["expires_at"] is token["revoked_at"] is None
    assert token["is_active"] is True
    assert token["created_at"].endswith("+00:00")
    newer = await buy(gate, bearer, duration_hours=1, scope="certificates_only")
    for query in ("", "?active_only=true", "?active_only=false"):
        status, mine = await call(gate, "GET", f"/tokens/my-tokens{query}", bearer=bearer)
        assert (status, mine) == (200, [newer, token])


@pytest.mark.parametrize("hours", [1, 12, 24, 168, 720, 24.0])
async def test_every_duration_on_sale_can_be_bought(gate: GateClient, hours: float) -> None:
    assert (await buy(gate, await sign_up(gate), duration_hours=hours))["duration_hours"] == hours


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"duration_hours": 5}, 400),
        ({"duration_hours": 10**30}, 400),
        ({"duration_hours": 0}, 422),
        ({"duration_hours": -1}, 422),
        ({"duration_hours": "24"}, 422),
        ({"duration_hours": "day"}, 422),
        ({"duration_hours": 1.5}, 422),
        ({"duration_hours": True}, 422),
        ({"duration_hours": None}, 422),
        ({}, 422),
        ({"duration_hours": 24, "scope": "nothing"}, 422),
        ({"duration_hours": 24, "scope": None}, 422),
        ({"duration_hours": 24, "price": "0.00"}, 422),
    ],
)
async def test_an_invalid_purchase_is_refused(
    gate: GateClient, body: dict[str, Any], status: int
) -> None:
    bearer = await sign_up(gate)
    got, response = await call(gate, "POST", "/tokens/purchase", bearer=bearer, json=body)
    assert got == status
    if status == 400:
        assert response["detail"] == "Invalid duration. Must be one of: [1, 12, 24, 168, 720]"
    assert await call(gate, "GET", "/tokens/my-tokens", bearer=bearer) == (200, [])


async def test_a_purchase_debits_the_price_and_reports_the_missing_amount(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(**PRICED)
    bearer = await sign_up(gate)
    await give(gate, "20.00")
    assert (await buy(gate, bearer))["cost_znc"] == "18.00"
    body = {"duration_hours": 24}
    status, response = await call(gate, "POST", "/tokens/purchase", bearer=bearer, json=body)
    assert status == 402
    assert response["detail"].startswith("Insufficient balance")
    assert "16.00" in response["detail"]
    assert response["missing_znc"] == "16.00"
    assert len((await call(gate, "GET", "/tokens/my-tokens", bearer=bearer))[1]) == 1


async def test_fifty_concurrent_purchases_with_money_for_five_sell_five(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(**PRICED)
    bearer = await sign_up(gate)
    await give(gate, "5.00")
    body = {"duration_hours": 1}
    responses = await asyncio.gather(
        *(call(gate, "POST", "/tokens/purchase", bearer=bearer, json=body) for _ in range(50))
    )
    assert sorted(status for status, _ in responses) == [201] * 5 + [402] * 45
    assert (await call(gate, "GET", "/users/me", bearer=bearer))[1]["currency_balance"] == "0.00"


async def test_the_plaintext_token_is_not_stored_in_the_database(gate: GateClient) -> None:
    token = await buy(gate, await sign_up(gate))
    async with gate.app[DATABASE].read() as connection:
        row = (await connection.execute(select(access_tokens))).one()
    assert token["token"] not in repr(tuple(row))
    assert row.prefix == token["token"][:8]


async def test_an_unused_token_is_refunded_in_full_once(make_gate: MakeGate) -> None:
    gate = await make_gate(**PRICED)
    bearer = await sign_up(gate)
    await give(gate, "18.00")
    token = await buy(gate, bearer)
    path = f"/tokens/{token['id']}"
    status, response = await call(gate, "DELETE", path, bearer=bearer)
    assert status == 200
    assert response["revoked"] is True
    assert (response["refund_amount"], response["new_balance"]) == ("18.00", "18.00")
    status, again = await call(gate, "DELETE", path, bearer=bearer)
    assert (status, again["refund_amount"], again["new_balance"]) == (200, "0.00", "18.00")
    assert await call(gate, "GET", "/tokens/my-tokens", bearer=bearer) == (200, [])
    (listed,) = (await call(gate, "GET", "/tokens/my-tokens?active_only=false", bearer=bearer))[1]
    assert listed["revoked_at"] is not None
    assert listed["is_active"] is False


async def _activate(gate: GateClient, token: dict[str, Any]) -> None:
    token_validator = gate.app[TOKEN_VALIDATOR]
    await token_validator.activate(await token_validator.validate(token["token"]))


async def test_a_used_token_is_not_refunded(make_gate: MakeGate) -> None:
    gate = await make_gate(**PRICED)
    bearer = await sign_up(gate)
    await give(gate, "18.00")
    token = await buy(gate, bearer)
    await _activate(gate, token)
    status, response = await call(gate, "DELETE", f"/tokens/{token['id']}", bearer=bearer)
    assert (status, response["refund_amount"], response["new_balance"]) == (200, "0.00", "0.00")


async def test_a_used_token_is_refunded_pro_rata_if_configured(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(**PRICED, refund_used_tokens="pro_rata")
    bearer = await sign_up(gate)
    await give(gate, "18.00")
    token = await buy(gate, bearer)
    await _activate(gate, token)
    _, response = await call(gate, "DELETE", f"/tokens/{token['id']}", bearer=bearer)
    assert response["refund_amount"] == "17.99"


async def test_concurrent_revocation_and_first_use_have_one_outcome(make_gate: MakeGate) -> None:
    gate = await make_gate(**PRICED)
    bearer = await sign_up(gate)
    await give(gate, "10.00")
    token_validator = gate.app[TOKEN_VALIDATOR]
    paid = 0
    for _ in range(10):
        token = await buy(gate, bearer, duration_hours=1)
        access = await token_validator.validate(token["token"])
        used, revoked = await asyncio.gather(
            token_validator.activate(access),
            call(gate, "DELETE", f"/tokens/{token['id']}", bearer=bearer),
            return_exceptions=True,
        )
        assert not isinstance(revoked, BaseException)
        refund = revoked[1]["refund_amount"]
        assert (refund == "0.00") == (not isinstance(used, BaseException))
        paid += refund == "0.00"
    balance = (await call(gate, "GET", "/users/me", bearer=bearer))[1]["currency_balance"]
    assert balance == f"{10 - paid}.00"


async def test_the_token_of_another_user_is_not_found(gate: GateClient) -> None:
    token = await buy(gate, await sign_up(gate))
    bob = await sign_up(gate, BOB)
    for method, path in (
        ("DELETE", f"/tokens/{token['id']}"),
        ("POST", f"/tokens/{token['id']}/release-device"),
        ("DELETE", f"/tokens/{uuid4()}"),
    ):
        assert (await call(gate, method, path, bearer=bob))[0] == 404
    assert (await call(gate, "DELETE", "/tokens/5", bearer=bob))[0] == 422


async def test_purchases_with_the_same_idempotency_key_charge_once(make_gate: MakeGate) -> None:
    gate = await make_gate(**PRICED)
    bearer = await sign_up(gate)
    await give(gate, "18.00")
    options: dict[str, Any] = {"bearer": bearer, "headers": {"Idempotency-Key": "order-1"}}
    body = {"duration_hours": 1}
    responses = await asyncio.gather(
        *(call(gate, "POST", "/tokens/purchase", json=body, **options) for _ in range(10))
    )
    assert [status for status, _ in responses] == [201] * 10
    assert len({response["token"] for _, response in responses}) == 1
    assert (await call(gate, "GET", "/users/me", bearer=bearer))[1]["currency_balance"] == "17.00"
    other = {"duration_hours": 24}
    assert (await call(gate, "POST", "/tokens/purchase", json=other, **options))[0] == 422


async def test_a_refused_purchase_may_be_retried_with_its_idempotency_key(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(**PRICED)
    bearer = await sign_up(gate)
    options: dict[str, Any] = {"bearer": bearer, "headers": {"Idempotency-Key": "order-1"}}
    body = {"duration_hours": 1}
    assert (await call(gate, "POST", "/tokens/purchase", json=body, **options))[0] == 402
    await give(gate, "1.00")
    assert (await call(gate, "POST", "/tokens/purchase", json=body, **options))[0] == 201


@pytest.mark.parametrize("key", ["", "two words", "ü", "x" * 256])
async def test_a_malformed_idempotency_key_is_refused(gate: GateClient, key: str) -> None:
    bearer = await sign_up(gate)
    options: dict[str, Any] = {"bearer": bearer, "headers": {"Idempotency-Key": key}}
    body = {"duration_hours": 1}
    assert (await call(gate, "POST", "/tokens/purchase", json=body, **options))[0] == 422


async def test_tokens_stay_valid_after_key_rotation(make_gate: MakeGate) -> None:
    first = await make_gate()
    bearer = await sign_up(first)
    token = await buy(first, bearer)
    second = await make_gate(
        secret_key="hG3v-Qz81_mWb0xTn4rLk9sDc2uYp7fJe6", previous_secret_keys=[SECRET_KEY]
    )
    assert (await call(second, "GET", "/tokens/my-tokens", bearer=bearer))[1] == [token]
    access = await second.app[TOKEN_VALIDATOR].validate(token["token"])
    assert str(access.token_id) == token["id"]


async def test_expired_tokens_are_listed_only_with_active_only_false(gate: GateClient) -> None:
    bearer = await sign_up(gate, ALICE)
    token = await buy(gate, bearer, duration_hours=1)
    await _activate(gate, token)
    async with gate.app[DATABASE].begin() as connection:
        row = (await connection.execute(select(access_tokens.c.activated_at))).one()
        past = row.activated_at.replace(year=row.activated_at.year - 1)
        await connection.execute(update(access_tokens).values(activated_at=past))
    (listed,) = (await call(gate, "GET", "/tokens/my-tokens?active_only=false", bearer=bearer))[1]
    assert listed["is_active"] is False
    assert listed["expires_at"] is not None
    for query in ("", "?active_only=1", "?active_only=true"):
        path = f"/tokens/my-tokens{query}"
        assert (await call(gate, "GET", path, bearer=bearer))[1] == []

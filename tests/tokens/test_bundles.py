"""Bundles: sold at one price, refunded token by token."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from yarl import URL

from tests.kit.api import buy, call, give, sign_up, sign_up_admin
from tests.kit.gates import GateClient, MakeGate
from tests.kit.payments import assert_whole, balance_of


async def test_a_bundle_is_bought_and_each_token_refunds_its_share(make_gate: MakeGate) -> None:
    gate = await make_gate(token_price_24h="18.00")
    admin = await sign_up_admin(gate)
    body = {"name": "Three days", "duration_hours": 24, "token_count": 3, "price_znc": "10.00"}
    status, bundle = await call(gate, "POST", "/admin/bundles", bearer=admin, json=body)
    assert status == 201
    status, listed = await call(gate, "GET", "/bundles/")
    assert (status, listed) == (200, {"items": [bundle]})
    assert (bundle["total_price"], bundle["base_price"]) == ("10.00", "54.00")
    assert (bundle["price_znc"], bundle["single_price_znc"]) == ("10.00", "54.00")

    bearer = await sign_up(gate)
    path = f"/bundles/{bundle['id']}/purchase"
    assert (await call(gate, "POST", path, bearer=bearer))[0] == 402
    assert (await call(gate, "GET", "/tokens/my-tokens", bearer=bearer))[1] == []
    await give(gate, "10.00")
    options: dict[str, Any] = {"bearer": bearer, "headers": {"Idempotency-Key": "b"}}
    status, purchase = await call(gate, "POST", path, **options)
    assert status == 200
    assert (await call(gate, "POST", path, **options)) == (200, purchase)
    assert [token["cost_znc"] for token in purchase["tokens"]] == ["3.34", "3.33", "3.33"]
    for token in purchase["tokens"]:
        _, response = await call(gate, "DELETE", f"/tokens/{token['id']}", bearer=bearer)
        assert response["refund_amount"] == token["cost_znc"]
    assert await balance_of(gate, bearer) == "10.00"
    await assert_whole(gate)

    change = {"is_active": False}
    await call(gate, "PATCH", f"/admin/bundles/{bundle['id']}", bearer=admin, json=change)
    assert (await call(gate, "GET", "/bundles/"))[1] == {"items": []}
    assert (await call(gate, "POST", path, bearer=bearer))[0] == 404


@pytest.mark.parametrize("query", ["", "?a=1", "?a=%2F&b=%20+&&c", "?next=//evil.example"])
async def test_the_path_without_slash_redirects_with_the_query(
    make_gate: MakeGate, query: str
) -> None:
    gate = await make_gate()
    url = URL(f"{gate.make_url('/')}api/v1/bundles{query}", encoded=True)
    async with gate.session.get(url, allow_redirects=False) as response:
        assert response.status == 308
        assert response.headers["Location"] == f"/api/v1/bundles/{query}"
    async with gate.session.get(url) as response:
        assert (response.status, await response.json()) == (200, {"items": []})


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"duration_hours": 5}, 400),
        ({"token_count": 0}, 422),
        ({"token_count": 1000}, 422),
        ({"price_znc": "-1"}, 422),
        ({"scope": "unknown"}, 422),
        ({"name": ""}, 422),
        ({"discount": 5}, 422),
    ],
)
async def test_the_purchase_of_an_unavailable_bundle_is_refused(
    gate: GateClient, change: dict[str, Any], status: int
) -> None:
    admin = await sign_up_admin(gate)
    body = {"name": "B", "duration_hours": 24, "token_count": 3, "price_znc": "10.00"} | change
    assert (await call(gate, "POST", "/admin/bundles", bearer=admin, json=body))[0] == status


async def test_fifty_concurrent_purchases_with_money_for_two_sell_two(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate()
    admin, bearer = await sign_up_admin(gate), await sign_up(gate)
    body = {"name": "B", "duration_hours": 24, "token_count": 3, "price_znc": "5.00"}
    _, bundle = await call(gate, "POST", "/admin/bundles", bearer=admin, json=body)
    await give(gate, "14.99")
    path = f"/bundles/{bundle['id']}/purchase"
    responses = await asyncio.gather(*(call(gate, "POST", path, bearer=bearer) for _ in range(50)))
    assert sorted(status for status, _ in responses) == [200] * 2 + [402] * 48
    assert len((await call(gate, "GET", "/tokens/my-tokens", bearer=bearer))[1]) == 6
    assert await balance_of(gate, bearer) == "4.99"
    await assert_whole(gate)


async def test_a_bundle_of_a_removed_scope_is_not_sold(make_gate: MakeGate) -> None:
    first = await make_gate(scopes={"reports": ["/reports/**"]})
    admin, bearer = await sign_up_admin(first), await sign_up(first)
    body = {"name": "B", "duration_hours": 1, "token_count": 1, "price_znc": "0"}
    body["scope"] = "reports"
    _, bundle = await call(first, "POST", "/admin/bundles", bearer=admin, json=body)
    path = f"/bundles/{bundle['id']}/purchase"
    assert (await call(first, "POST", path, bearer=bearer))[0] == 200
    second = await make_gate()
    assert (await call(second, "GET", "/bundles/"))[1] == {"items": []}
    assert (await call(second, "POST", path, bearer=bearer))[0] == 404
    assert len((await call(second, "GET", "/admin/bundles", bearer=admin))[1]) == 1


async def test_a_changed_price_does_not_change_refunds(
    make_gate: MakeGate,
) -> None:
    first = await make_gate(token_price_1h="3.00")
    admin, bearer = await sign_up_admin(first), await sign_up(first)
    body = {"name": "B", "duration_hours": 1, "token_count": 2, "price_znc": "5.01"}
    _, bundle = await call(first, "POST", "/admin/bundles", bearer=admin, json=body)
    await give(first, "8.01")
    single = await buy(first, bearer, duration_hours=1)
    _, purchase = await call(first, "POST", f"/bundles/{bundle['id']}/purchase", bearer=bearer)
    change = {"price_znc": "100"}
    await call(first, "PATCH", f"/admin/bundles/{bundle['id']}", bearer=admin, json=change)
    dearer = await make_gate(token_price_1h="50.00")
    given_back = []
    for token in (single, *purchase["tokens"]):
        _, response = await call(dearer, "DELETE", f"/tokens/{token['id']}", bearer=bearer)
        given_back.append(response["refund_amount"])
    assert given_back == ["3.00", "2.51", "2.50"]
    assert await balance_of(dearer, bearer) == "8.01"
    await assert_whole(dearer)

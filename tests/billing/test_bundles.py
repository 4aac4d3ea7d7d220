"""Bundles: sold whole, given back token by token."""

from __future__ import annotations

from typing import Any

import pytest

from tests.billing.money import (
    assert_whole,
    balance_of,
)
from tests.conftest import GateClient, MakeGate
from tests.kit import call, give, sign_up, sign_up_admin


async def test_a_bundle_is_bought_and_each_token_refunds_its_share(make_gate: MakeGate) -> None:
    gate = await make_gate(token_price_24h="18.00")
    admin = await sign_up_admin(gate)
    body = {"name": "Three days", "duration_hours": 24, "token_count": 3, "price_znc": "10.00"}
    status, bundle = await call(gate, "POST", "/admin/bundles", bearer=admin, json=body)
    assert status == 201
    status, listed = await call(gate, "GET", "/bundles/")
    assert (status, listed) == (200, [bundle])
    assert (bundle["price_znc"], bundle["single_price_znc"]) == ("10.00", "54.00")

    bearer = await sign_up(gate)
    path = f"/bundles/{bundle['id']}/purchase"
    assert (await call(gate, "POST", path, bearer=bearer))[0] == 402
    assert (await call(gate, "GET", "/tokens/my-tokens", bearer=bearer))[1] == []
    await give(gate, "10.00")
    options: dict[str, Any] = {"bearer": bearer, "headers": {"Idempotency-Key": "b"}}
    status, bought = await call(gate, "POST", path, **options)
    assert status == 200
    assert (await call(gate, "POST", path, **options)) == (200, bought)
    assert [token["cost_znc"] for token in bought["tokens"]] == ["3.34", "3.33", "3.33"]
    for token in bought["tokens"]:
        _, answer = await call(gate, "DELETE", f"/tokens/{token['id']}", bearer=bearer)
        assert answer["refund_amount"] == token["cost_znc"]
    assert await balance_of(gate, bearer) == "10.00"
    await assert_whole(gate)

    change = {"is_active": False}
    await call(gate, "PATCH", f"/admin/bundles/{bundle['id']}", bearer=admin, json=change)
    assert (await call(gate, "GET", "/bundles/"))[1] == []
    assert (await call(gate, "POST", path, bearer=bearer))[0] == 404


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
async def test_a_bundle_that_can_not_be_sold_is_refused(
    gate: GateClient, change: dict[str, Any], status: int
) -> None:
    admin = await sign_up_admin(gate)
    body = {"name": "B", "duration_hours": 24, "token_count": 3, "price_znc": "10.00"} | change
    assert (await call(gate, "POST", "/admin/bundles", bearer=admin, json=body))[0] == status

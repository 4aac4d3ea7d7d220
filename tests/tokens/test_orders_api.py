"""Orders in the API: one payment for each call, at the price that the buyer agreed to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.kit.api import BOB, call, give, sign_up
from tests.kit.gates import SECRET_KEY, GateClient, running_gate
from tests.kit.payments import assert_whole, balance_of
from zenzefi.audit.log import GATE
from zenzefi.billing.payments import PAYMENTS
from zenzefi.db.engine import DATABASE
from zenzefi.tokens.bundles import BUNDLES
from zenzefi.tokens.promo_codes import PROMO_CODES

PRICED: dict[str, Any] = {
    "debug": True,
    "payment_providers": ["manual", "mock"],
    "token_price_1h": "2.00",
    "token_price_24h": "18.00",
    "rate_limit_api": "off",
}
DAY: dict[str, Any] = {"duration_hours": 24, "price_znc": "18.00"}


@pytest.fixture
async def shop(sqlite_database: str, tmp_path: Path) -> AsyncIterator[GateClient]:
    """A gate with prices on the embedded database: tests/tokens/test_orders.py uses both."""
    settings = PRICED | {"secret_key": SECRET_KEY, "data_dir": tmp_path / "gate"}
    async with running_gate(**settings) as gate:
        yield gate


async def test_a_repeated_call_opens_one_payment_that_completes_one_purchase(
    shop: GateClient,
) -> None:
    bearer, other = await sign_up(shop), await sign_up(shop, BOB)
    await give(shop, "5.00")
    options: dict[str, Any] = {"json": DAY, "headers": {"Idempotency-Key": "one"}}
    responses = await asyncio.gather(
        *(call(shop, "POST", "/orders", bearer=bearer, **options) for _ in range(4))
    )
    assert {status for status, _ in responses} == {201}
    (payment_id,) = {response["payment_id"] for _, response in responses}
    opened = responses[0][1]
    shown = opened["status"], opened["amount_znc"], opened["amount"]
    assert shown == ("waiting", "13.00", "130.00")
    async with shop.app[DATABASE].begin() as connection:
        await shop.app[PAYMENTS].confirm(connection, GATE, UUID(payment_id))
    path = f"/orders/{payment_id}"
    _, found = await call(shop, "GET", path, bearer=bearer)
    assert (found["status"], found["payment_status"]) == ("completed", "succeeded")
    _, (token,) = await call(shop, "GET", "/tokens/my-tokens", bearer=bearer)
    assert token["id"] == found["token_id"]
    # The same call again has the same payment, although nothing is on the balance any more.
    status, again = await call(shop, "POST", "/orders", bearer=bearer, **options)
    assert (status, again["payment_id"]) == (201, payment_id)
    assert (await call(shop, "GET", path, bearer=other))[0] == 404
    await assert_whole(shop)


async def test_an_order_that_is_refused_opens_no_payment(shop: GateClient) -> None:
    bearer = await sign_up(shop)
    await give(shop, "2.00")
    unknown = str(uuid4())
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"duration_hours": 24, "price_znc": "17.99"}, 409, "price_changed"),
        ({"duration_hours": 1, "price_znc": "2.00"}, 409, "balance_suffices"),
        ({"duration_hours": 7, "price_znc": "2.00"}, 400, "invalid_duration"),
        (DAY | {"promo_code": "NOTHING"}, 400, "promo_code_invalid"),
        ({"bundle_id": unknown, "price_znc": "1.00"}, 404, "not_found"),
        (DAY | {"provider": "stripe"}, 422, ""),
        (DAY | {"scope": "gone"}, 422, ""),
        (DAY | {"bundle_id": unknown}, 422, ""),
        ({"bundle_id": unknown, "promo_code": "A", "price_znc": "1.00"}, 422, ""),
        ({"price_znc": "1.00"}, 422, ""),
    ]
    for body, status, code in cases:
        found, error = await call(shop, "POST", "/orders", bearer=bearer, json=body)
        assert (found, error["code"] if code else "") == (status, code), body
    assert (await shop.app[PAYMENTS].listed(limit=5, offset=0))[1] == 0


async def test_a_bundle_and_a_promo_code_are_ordered_with_a_round_amount(shop: GateClient) -> None:
    bearer = await sign_up(shop)
    bundle = await shop.app[BUNDLES].create(
        GATE, name="B", duration_hours=1, token_count=3, scope="full", price=Decimal("5.50")
    )
    await shop.app[PROMO_CODES].create(GATE, code="SPRING", percent=50)
    common: dict[str, Any] = {"round_up": True, "provider": "mock"}
    orders: list[tuple[dict[str, Any], str, str]] = [
        ({"bundle_id": str(bundle.id), "price_znc": "5.50"}, "100.00", "4.50"),
        (DAY | {"price_znc": "9.00", "promo_code": "spring"}, "50.00", "0.50"),
    ]
    for body, amount, kept in orders:
        status, found = await call(shop, "POST", "/orders", bearer=bearer, json=body | common)
        assert (status, found["status"], found["amount"]) == (201, "completed", amount)
        assert await balance_of(shop, bearer) == kept
    await assert_whole(shop)

"""Promo codes: never more uses than permitted, once for each user, and refunds of what was paid."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from tests.kit.api import ALICE, BOB, call, give, sign_up, sign_up_admin
from tests.kit.gates import SECRET_KEY, GateClient, Stores, running_gate
from tests.kit.payments import assert_whole, balance_of
from tests.kit.visitors import Visitor, promote
from zenzefi.audit.log import GATE
from zenzefi.billing.models import promo_codes, promo_uses
from zenzefi.billing.payments import PAYMENTS
from zenzefi.db.base import utcnow
from zenzefi.db.engine import DATABASE
from zenzefi.maintenance.reconciliation import reconcile
from zenzefi.tokens.orders import ORDERS
from zenzefi.tokens.promo_codes import PROMO_CODES, PromoCode

PRICED: dict[str, Any] = {
    "debug": True,
    "payment_providers": ["manual", "mock"],
    "token_price_1h": "2.00",
    "token_price_24h": "18.00",
    "rate_limit_api": "off",
}
DAY = {"duration_hours": 24}


@pytest.fixture
async def shop(sqlite_database: str, tmp_path: Path) -> AsyncIterator[GateClient]:
    """A gate with prices on the embedded database: most rules do not depend on the database."""
    settings = PRICED | {"secret_key": SECRET_KEY, "data_dir": tmp_path / "gate"}
    async with running_gate(**settings) as gate:
        yield gate


async def create(gate: GateClient, code: str = "SPRING", **values: Any) -> PromoCode:
    fields = {"percent": 10} if "amount" not in values else {}
    return await gate.app[PROMO_CODES].create(GATE, code=code, **(fields | values))


async def purchase(gate: GateClient, bearer: str, code: str, **more: Any) -> tuple[int, Any]:
    body = DAY | {"promo_code": code} | more
    return await call(gate, "POST", "/tokens/purchase", bearer=bearer, json=body)


@given(st.integers(0, 10**9), st.integers(1, 100), st.integers(1, 10**9))
def test_a_discounted_price_is_never_negative_nor_above_the_full_one(
    cents: int, percent: int, off: int
) -> None:
    full, amount = Decimal(cents).scaleb(-2), Decimal(off).scaleb(-2)
    common: dict[str, Any] = dict.fromkeys(PromoCode.__dataclass_fields__)
    by_percent = PromoCode(**common | {"percent": percent}).price(full)
    assert 0 <= by_percent <= full
    assert full * percent / 100 - Decimal("0.01") < full - by_percent <= full * percent / 100
    assert PromoCode(**common | {"amount": amount}).price(full) == max(0, full - amount)


async def test_a_code_lowers_the_price_and_the_refund_is_what_was_paid(shop: GateClient) -> None:
    bearer = await sign_up(shop)
    await give(shop, "20.00")
    await create(shop)
    status, token = await purchase(shop, bearer, " spring ")
    assert (status, token["cost_znc"]) == (201, "16.20")
    await assert_whole(shop)
    _, revoked = await call(shop, "DELETE", f"/tokens/{token['id']}", bearer=bearer)
    assert revoked["refund_amount"] == "16.20"
    assert await balance_of(shop, bearer) == "20.00"
    status, error = await purchase(shop, bearer, "SPRING")  # used, although the token was returned
    assert (status, error["code"]) == (409, "promo_code_used")
    await assert_whole(shop)


async def test_an_amount_above_the_price_makes_a_token_free_and_credits_nothing(
    shop: GateClient,
) -> None:
    bearer = await sign_up(shop)
    await create(shop, amount=Decimal("30.00"))
    status, token = await purchase(shop, bearer, "SPRING")
    assert (status, token["cost_znc"]) == (201, "0.00")
    assert await balance_of(shop, bearer) == "0.00"
    await assert_whole(shop)


@pytest.mark.parametrize("case", ["unknown", "malformed", "early", "late", "off", "used up"])
async def test_a_code_that_is_not_valid_buys_nothing(shop: GateClient, case: str) -> None:
    bearer = await sign_up(shop)
    await give(shop, "20.00")
    made = await create(shop, max_uses=1)
    async with shop.app[DATABASE].begin() as connection:
        now = (await connection.execute(select(utcnow()))).scalar_one()
        changes: dict[str, dict[str, Any]] = {
            "early": {"starts_at": now + timedelta(hours=1)},
            "late": {"ends_at": now - timedelta(seconds=1)},
            "off": {"is_active": False},
            "used up": {"used": 1},
        }
        if case in changes:
            await connection.execute(update(promo_codes).values(**changes[case]))
    code = {"unknown": "SUMMER", "malformed": "' OR 1=1"}.get(case, made.code)
    status, error = await purchase(shop, bearer, code)
    assert (status, error["code"]) == (400, "promo_code_invalid")
    assert await balance_of(shop, bearer) == "20.00"
    _, tokens = await call(shop, "GET", "/tokens/my-tokens", bearer=bearer)
    assert tokens == []


async def test_concurrent_purchases_on_two_nodes_stay_within_both_limits(stores: Stores) -> None:
    async with AsyncExitStack() as stack:
        settings = stores.settings | PRICED
        nodes = [await stack.enter_async_context(running_gate(**settings)) for _ in range(2)]
        people = [ALICE, BOB] + [
            {"email": f"{name}@example.com", "username": name, "password": "open sesame!"}
            for name in ("carol", "dave")
        ]
        bearers = [await sign_up(nodes[0], who) for who in people]
        for who in people:
            await give(nodes[0], "200.00", who)
        await create(nodes[0], max_uses=3)
        responses = await asyncio.gather(
            *(purchase(nodes[n % 2], bearers[n % 4], "SPRING") for n in range(16))
        )
        assert [status for status, _ in responses].count(201) == 3
        async with nodes[0].app[DATABASE].read() as connection:
            users = (await connection.execute(select(promo_uses.c.user_id))).scalars().all()
            used = (await connection.execute(select(promo_codes.c.used))).scalar_one()
        assert (len(users), len(set(users)), used) == (3, 3, 3)
        await assert_whole(nodes[0])


async def test_the_page_shows_the_lower_price_before_it_is_paid(shop: GateClient) -> None:
    visitor = await Visitor(shop).register("alice")
    await give(shop, "40.00")
    await create(shop)
    await visitor.open("/account/buy?code=NOTHING")
    assert "This promo code is not valid." in visitor.text
    await visitor.open("/account/buy?code=spring")
    text = visitor.text.replace("\xa0", " ")
    assert "16.20 ZNC instead of 18.00 ZNC" in text
    form: dict[str, Any] = {"duration_hours": "24", "scope": "full", "code": "SPRING"}
    await visitor.send("/account/buy", **form, seen_24="18.00", once="a")
    assert "The price has changed" in visitor.text
    await visitor.send("/account/buy", **form, seen_24="16.20", once="b")
    assert "Token bought." in visitor.text
    await visitor.open("/account/money")
    assert "23.80 ZNC" in visitor.text.replace("\xa0", " ")
    await assert_whole(shop)


@pytest.mark.parametrize("is_left", [True, False])
async def test_an_order_keeps_the_code_and_fails_if_it_is_used_up(
    shop: GateClient, is_left: bool
) -> None:
    visitor = await Visitor(shop).register("alice")
    await create(shop, max_uses=1)
    await visitor.open("/account/buy?code=SPRING")
    form: dict[str, Any] = {"scope": "full", "code": "SPRING"}
    await visitor.send("/account/buy", **form, duration_hours="24", seen_24="16.20", once="a")
    assert "Missing 16.20 ZNC" in visitor.text.replace("\xa0", " ")
    order: dict[str, Any] = form | {"hours": "24", "seen": "16.20", "once": "b"}
    await visitor.send("/account/buy/pay", **order, provider="manual")
    (opened,), _ = await shop.app[PAYMENTS].listed(limit=5, offset=0)
    assert opened.amount_znc == Decimal("16.20")
    if not is_left:
        bearer = await sign_up(shop, BOB)
        await give(shop, "20.00", BOB)
        assert (await purchase(shop, bearer, "SPRING"))[0] == 201
    async with shop.app[DATABASE].begin() as connection:
        await shop.app[PAYMENTS].confirm(connection, GATE, opened.id)
    found = await shop.app[ORDERS].of_payment(opened.id)
    assert found is not None
    expected = ("completed", None) if is_left else ("failed", "promo_code_invalid")
    assert (found.status, found.reason) == expected
    await assert_whole(shop)


async def test_administrators_create_codes_and_switch_them_off(shop: GateClient) -> None:
    admin, bearer = await sign_up_admin(shop), await sign_up(shop)
    await give(shop, "20.00")
    path = "/admin/promo-codes"
    assert (await call(shop, "GET", path, bearer=bearer))[0] == 403
    body: dict[str, Any] = {"amount_znc": "3", "max_uses": 5, "ends_at": "2999-01-01T00:00:00Z"}
    status, made = await call(shop, "POST", path, bearer=admin, json=body)
    assert (status, made["amount"], len(made["code"])) == (201, "3.00", 12)
    for wrong in (
        *({}, {"percent": 0}, {"percent": 101}, {"percent": 5, "amount_znc": "1"}),
        *({"percent": 5, "code": "a b"}, {"percent": 5, "ends_at": "2999-01-01T00:00:00"}),
    ):
        assert (await call(shop, "POST", path, bearer=admin, json=wrong))[0] == 422
    again = {"percent": 5, "code": made["code"].lower()}
    assert (await call(shop, "POST", path, bearer=admin, json=again))[0] == 409
    off = {"is_active": False}
    _, changed = await call(shop, "PATCH", f"{path}/{made['id']}", bearer=admin, json=off)
    assert changed["is_active"] is False
    assert (await purchase(shop, bearer, made["code"]))[0] == 400
    _, listed = await call(shop, "GET", path, bearer=admin)
    assert [one["code"] for one in listed["items"]] == [made["code"]]


async def test_codes_are_created_on_the_page(shop: GateClient) -> None:
    root = await Visitor(shop).register("root")
    await promote(shop)
    path = "/admin/promo-codes"
    await root.open(path)
    assert "No promo codes yet." in root.text
    form: dict[str, Any] = {"code": "May", "kind": "percent", "value": "200", "ends": "never"}
    await root.send(path, **form)
    assert root.status == 422
    assert {one.get_text() for one in root.soup.select(".error")} == {
        "4 to 40 letters from A to Z, digits and hyphens, please.",
        "Please enter a date, such as 2026-12-31.",
    }
    fixed: dict[str, Any] = {"code": "may-2026", "value": "20", "ends": "2999-12-31"}
    await root.send(path, **form | fixed | {"max_uses": "100"})
    assert "The promo code MAY-2026 is created." in root.text
    await root.send(path, kind="amount_znc", value="2,50", code="may-2026")
    assert "There is a promo code of this name." in root.text
    await root.open(path)
    await root.send(root.soup.select_one('form[action$="/off"]')["action"])
    assert "The promo code is changed." in root.text
    assert root.soup.select_one('form[action$="/on"]')


async def test_reconciliation_finds_uses_that_were_changed(shop: GateClient) -> None:
    bearer = await sign_up(shop)
    await give(shop, "20.00")
    await create(shop)
    await purchase(shop, bearer, "SPRING")
    for table, wrong in ((promo_codes, {"used": 0}), (promo_uses, {"paid": Decimal("1.00")})):
        async with shop.app[DATABASE].begin() as connection:
            await connection.execute(update(table).values(**wrong))
        found = (await reconcile(shop.app[DATABASE])).discrepancies
        text = "a use of a promo code does not match its token"
        assert [one.text for one in found] == [text]
        async with shop.app[DATABASE].begin() as connection:
            await connection.execute(update(promo_codes).values(used=1))

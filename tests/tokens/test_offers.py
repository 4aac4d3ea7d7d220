"""Offers: the price list in force, published versions, and the public list."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.kit.api import buy, call, give, sign_up, sign_up_admin
from tests.kit.gates import GateClient, MakeGate
from tests.kit.payments import assert_whole
from tests.kit.visitors import Visitor, promote
from zenzefi.audit.log import GATE
from zenzefi.settings.catalogue import Catalogue
from zenzefi.tokens.errors import OffersChanged
from zenzefi.tokens.offers import Offers
from zenzefi.tokens.service import TOKENS

SETTINGS = {
    "token_price_24h": "18.00",
    "token_prices": '{"6h": "3.00"}',
    "scope_prices": '{"certificates_only": {"24h": "9.00"}}',
    "scope_texts": '{"full": {"en": {"title": "The works"}, "ru": {"title": "Всё"}}}',
    "payment_currency": "EUR",
    "currency_rates": '{"EUR": "0.125", "USD": "0.11"}',
}
LATER = Catalogue({1: Decimal("5.00")})


def offers_of(gate: GateClient) -> Offers:
    return gate.app[TOKENS].offers


async def test_everybody_can_read_what_is_on_sale(make_gate: MakeGate) -> None:
    gate = await make_gate(**SETTINGS)
    status, found = await call(gate, "GET", "/offers", headers={"Accept-Language": "ru"})
    assert status == 200
    assert found["payment_currency"] == "EUR"
    assert [rate["currency"] for rate in found["rates"]] == ["EUR", "USD"]
    prices = {
        (offer["scope"], offer["duration_hours"]): offer["price_znc"] for offer in found["offers"]
    }
    assert prices == {
        ("full", 6): "3.00",
        ("full", 24): "18.00",
        ("certificates_only", 6): "3.00",
        ("certificates_only", 24): "9.00",
    }
    assert found["offers"][0]["prices"][0] == {"currency": "EUR", "amount": "0.38"}
    assert found["scopes"][0]["title"] == "Всё"


async def test_a_purchase_has_the_price_of_its_scope_and_duration(make_gate: MakeGate) -> None:
    gate = await make_gate(**SETTINGS)
    bearer = await sign_up(gate)
    await give(gate, "30.00")
    token = await buy(gate, bearer, duration_hours=24, scope="certificates_only")
    assert token["cost_znc"] == "9.00"
    assert (await buy(gate, bearer, duration_hours=6))["cost_znc"] == "3.00"
    body = {"duration_hours": 720}
    status, response = await call(gate, "POST", "/tokens/purchase", bearer=bearer, json=body)
    assert (status, response["code"]) == (400, "invalid_duration")
    assert response["detail"] == "Invalid duration. Must be one of: [6, 24]"
    await assert_whole(gate)


async def test_a_published_price_list_applies_at_its_time_and_can_be_withdrawn(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(token_price_24h="18.00")
    service = offers_of(gate)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert await service.publish(GATE, LATER, effective_from=tomorrow, seen=0) == 1
    assert (await service.current()).price(24, "full") == Decimal("18.00")
    assert await service.publish(GATE, LATER, seen=1) == 2
    assert (await service.current()).durations("full") == [1]
    assert [version.is_in_force for version in await service.versions()] == [True, False]
    assert await service.publish(GATE, None, seen=2) == 3
    assert (await service.current()).durations("full") == [24]


async def test_of_administrators_who_publish_at_once_one_succeeds(make_gate: MakeGate) -> None:
    gate = await make_gate(token_price_24h="18.00")
    nodes = [offers_of(gate), Offers(gate.app[TOKENS]._settings, gate.app[TOKENS]._database)]
    outcomes = await asyncio.gather(
        *(nodes[n % 2].publish(GATE, LATER, seen=0) for n in range(6)), return_exceptions=True
    )
    assert sorted(map(str, outcomes)) == sorted(["1", *[OffersChanged.default] * 5])


async def test_a_bundle_is_created_for_a_duration_that_the_price_list_names(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(**SETTINGS)
    admin = await sign_up_admin(gate)
    body = {"name": "B", "duration_hours": 6, "token_count": 2, "price_znc": "5.00"}
    status, made = await call(gate, "POST", "/admin/bundles", bearer=admin, json=body)
    assert (status, made["single_price_znc"]) == (201, "6.00")
    body["duration_hours"] = 7
    status, refused = await call(gate, "POST", "/admin/bundles", bearer=admin, json=body)
    assert (status, refused["code"]) == (400, "invalid_duration")


@pytest.mark.parametrize("language", ["en", "ru"])
async def test_an_administrator_publishes_prices_and_buyers_see_them(
    make_gate: MakeGate, language: str
) -> None:
    gate = await make_gate(token_price_24h="18.00", znc_to_rub_rate="10")
    visitor = await Visitor(gate, language).register("root")
    await visitor.open("/admin/offers")
    assert visitor.status == 403
    await promote(gate)
    await visitor.open("/admin/offers")
    rows: dict[str, Any] = {
        "hours_0": "6",
        "price_0_full": "1,50",
        "price_0_certificates_only": "1",
    }
    await visitor.send("/admin/offers", seen="0", hours_1="x", **rows)
    assert visitor.status == 422
    assert visitor.soup.find(id="e-hours_1") is not None
    await visitor.send("/admin/offers", seen="0", **rows)
    assert visitor.status == 200
    await visitor.open("/account/buy")
    radios = visitor.soup.select('input[name="duration_hours"]')
    assert [radio["value"] for radio in radios] == ["6"]
    text = visitor.text.replace("\xa0", " ")
    assert ("1.50 ZNC RUB 15.00" if language == "en" else "1,50 ZNC 15,00 ₽") in text
    await visitor.open("/account/buy?scope=certificates_only")
    assert visitor.soup.select_one('input[name="seen_6"]')["value"] == "1.00"
    await visitor.open("/admin/offers")
    await visitor.send("/admin/offers", seen="0", **rows)  # seen before the first list
    assert len(await offers_of(gate).versions()) == 1
    await visitor.open("/admin/audit")
    assert visitor.status == 200


async def test_a_bundle_is_put_on_sale_and_changed_on_the_page(make_gate: MakeGate) -> None:
    gate = await make_gate(token_price_24h="18.00")
    visitor = await Visitor(gate).register("root")
    await promote(gate)
    await visitor.open("/admin/offers")
    fields: dict[str, Any] = {
        "name": "Week",
        "duration_hours": "24h",
        "token_count": "7",
        "scope": "full",
    }
    await visitor.send("/admin/bundles", **fields, price_znc="free")
    assert visitor.status == 422
    await visitor.send("/admin/bundles", **fields, price_znc="99,00")
    await visitor.open("/account/buy")
    assert "One by one: 126.00 ZNC. You save 21%." in visitor.text.replace("\xa0", " ")
    assert "All pages and API calls of the application." in visitor.text
    await visitor.open("/admin/offers")
    path = visitor.soup.select_one('form[action^="/admin/bundles/"]')["action"]
    await visitor.send(path, price="50")
    await visitor.open("/account/buy")
    assert "Week" not in visitor.text

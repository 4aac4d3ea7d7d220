"""Pages about money over HTTP, on both kinds of stores."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from tests.conftest import GateClient, MakeGate
from tests.web.visitor import Visitor
from zenzefi.audit.log import GATE
from zenzefi.billing.bundles import BUNDLES

NBSP = "\N{NO-BREAK SPACE}"


@pytest.fixture
async def shop(make_gate: MakeGate) -> GateClient:
    """A gate that takes pretended money."""
    return await make_gate(
        debug=True,
        payment_providers=["manual", "mock"],
        token_price_1h="2.00",
        token_price_24h="18.00",
    )


async def top_up(visitor: Visitor, amount: str, provider: str = "mock") -> Visitor:
    await visitor.open("/account/money")
    once = str(visitor.soup.find("input", attrs={"name": "once"})["value"])
    return await visitor.send("/account/money/top-up", amount=amount, provider=provider, once=once)


def plain(visitor: Visitor) -> str:
    return visitor.text.replace(NBSP, " ")


async def test_an_amount_is_understood_as_people_write_it(shop: GateClient) -> None:
    visitor = await Visitor(shop).register()
    await top_up(visitor, " 1 020,50 ")
    assert "Paid: the amount is on your balance." in visitor.text
    await visitor.open("/account/money")
    assert "1,020.50 ZNC" in plain(visitor)
    assert "by mock" in visitor.text


@pytest.mark.parametrize("amount", ["", "0", "-5", "1e3", "NaN", "12.345", "ten", "9" * 12])
async def test_an_amount_that_is_none_is_said_beside_the_field(
    shop: GateClient, amount: str
) -> None:
    visitor = await Visitor(shop).register()
    await top_up(visitor, amount)
    assert visitor.status == 422
    field = visitor.soup.find(id="f-amount")
    assert field["value"] == amount
    assert visitor.soup.find(id="e-amount").get_text(strip=True)


async def test_a_provider_that_is_not_offered_is_refused(shop: GateClient) -> None:
    visitor = await Visitor(shop).register()
    await top_up(visitor, "10", provider="stripe")
    assert visitor.status == 422
    assert "Please choose how to pay." in visitor.text


async def test_a_top_up_sent_twice_opens_one_payment(shop: GateClient) -> None:
    visitor = await Visitor(shop).register()
    for _ in range(2):
        await visitor.open("/account/money")
        await visitor.send("/account/money/top-up", amount="10", provider="mock", once="one")
    await visitor.open("/account/money")
    assert "10.00 ZNC" in plain(visitor)
    assert len(visitor.soup.select("tbody tr")) == 1


async def test_a_manual_payment_waits_and_can_be_cancelled(shop: GateClient) -> None:
    visitor = await Visitor(shop).register()
    await top_up(visitor, "10", provider="manual")
    assert "name this number" in visitor.text
    await visitor.open("/account/money")
    link = visitor.soup.select_one('a[href^="/account/payments/"]')["href"]
    await visitor.send(f"{link}/cancel")
    assert "The payment is cancelled." in visitor.text
    await visitor.open(link)
    assert "This payment was not completed." in visitor.text


async def test_the_statement_is_filtered_downloaded_and_printed(shop: GateClient) -> None:
    visitor = await Visitor(shop).register()
    await top_up(visitor, "50")
    path = await visitor.buy(24)
    await visitor.open(f"{path}/revoke")
    await visitor.send(f"{path}/revoke")
    await visitor.open("/account/money?type=refund")
    rows = visitor.soup.select("tbody tr")
    assert len(rows) == 1
    await visitor.open(rows[0].find("a")["href"])
    assert "+18.00 ZNC" in plain(visitor)
    await visitor.open("/account/money/transactions.csv")
    assert visitor.headers["Content-Type"].startswith("text/csv")
    assert visitor.headers["Cache-Control"] == "no-store"
    lines = list(csv.DictReader(io.StringIO(visitor.html)))
    assert [line["amount"] for line in lines] == ["50.00", "-18.00", "18.00"]
    await visitor.open("/account/money?type=nonsense&offset=-1")
    assert len(visitor.soup.select("tbody tr")) == 3


async def test_receipts_and_payments_of_others_do_not_exist(shop: GateClient) -> None:
    owner = await Visitor(shop).register("marta")
    await top_up(owner, "50")
    await owner.open("/account/money")
    receipt = owner.soup.select_one('a[href^="/account/money/receipts/"]')["href"]
    await top_up(owner, "5", provider="manual")
    await owner.open("/account/money")
    payment = owner.soup.select_one('a[href^="/account/payments/"]')["href"]
    other = await Visitor(shop).register("boris")
    for path in (receipt, payment):
        await other.open(path)
        assert other.status == 404
    await other.open("/account")
    await other.send(f"{payment}/cancel")
    assert other.status == 404


async def test_a_bundle_is_bought_once_with_all_its_tokens(shop: GateClient) -> None:
    values: dict[str, Any] = {
        "name": "Team <day>",
        "description": "",
        "duration_hours": 24,
        "token_count": 3,
        "scope": "full",
        "price": 40,
    }
    bundle = await shop.app[BUNDLES].create(GATE, **values)
    visitor = await Visitor(shop).register()
    await visitor.open("/account/buy")
    assert "Team <day>" in visitor.text
    await visitor.send(f"/account/bundles/{bundle.id}", once="one")
    assert "Your balance is too low for this." in visitor.text
    await top_up(visitor, "100")
    for _ in range(2):
        await visitor.open("/account/buy")
        await visitor.send(f"/account/bundles/{bundle.id}", once="one")
    assert "3 tokens are yours." in visitor.text
    assert len(visitor.soup.select(".ticket")) == 3
    await visitor.open("/account/money")
    assert "60.00 ZNC" in plain(visitor)

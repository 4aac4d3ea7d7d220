"""Pages about money over HTTP, on both kinds of stores."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from tests.kit.gates import GateClient, MakeGate
from tests.kit.visitors import Visitor
from zenzefi.audit.log import GATE
from zenzefi.billing.models import payments
from zenzefi.billing.payments import PAYMENTS
from zenzefi.billing.providers.base import Event, Outcome
from zenzefi.db.engine import DATABASE
from zenzefi.settings import SETTINGS
from zenzefi.tokens.bundles import BUNDLES

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


async def test_an_amount_is_parsed_in_its_usual_spellings(shop: GateClient) -> None:
    visitor = await Visitor(shop).register()
    await top_up(visitor, " 1 020,50 ")
    assert "Paid. The amount has been added to your balance." in visitor.text
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
    assert "include this payment ID" in visitor.text
    await visitor.open("/account/money")
    link = visitor.soup.select_one('a[href^="/account/payments/"]')["href"]
    await visitor.send(f"{link}/cancel")
    assert "The payment is cancelled." in visitor.text
    await visitor.open(link)
    assert "This payment was cancelled." in visitor.text


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
    assert visitor.html.startswith("\ufeff")  # without it Excel takes UTF-8 for something else
    lines = list(csv.DictReader(io.StringIO(visitor.html.removeprefix("\ufeff"))))
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
    assert "Missing 40.00 ZNC" in plain(visitor)
    await top_up(visitor, "100")
    for _ in range(2):
        await visitor.open("/account/buy")
        await visitor.send(f"/account/bundles/{bundle.id}", once="one")
    assert "3 tokens bought." in visitor.text
    assert len(visitor.soup.select(".ticket")) == 3
    await visitor.open("/account/money")
    assert "60.00 ZNC" in plain(visitor)


async def test_payments_stay_visible_whatever_became_of_them(shop: GateClient) -> None:
    visitor = await Visitor(shop).register()
    for number in range(7):
        await top_up(visitor, str(10 + number), provider="manual")
    await visitor.open("/account/money")
    links = [a["href"] for a in visitor.soup.select('a[href^="/account/payments/"]')]
    assert len(links) == 5
    await visitor.send(f"{links[0]}/cancel")
    async with shop.app[DATABASE].begin() as connection:
        await connection.execute(
            update(payments)
            .where(payments.c.id == UUID(links[1].rpartition("/")[2]))
            .values(status="expired")
        )
    await visitor.open("/account/money")
    assert "cancelled" in visitor.text
    assert "expired" in visitor.text
    await visitor.open("/account/payments")
    assert len(visitor.soup.select("tbody tr")) == 7
    await visitor.open(links[1])
    assert "This payment has expired." in visitor.text
    assert "If you have paid, the amount" in visitor.text


@pytest.mark.parametrize("kind", ["refunded", "disputed"])
async def test_a_payment_taken_back_after_it_was_spent_is_explained(
    shop: GateClient, kind: str
) -> None:
    visitor = await Visitor(shop).register()
    await top_up(visitor, "20")
    await visitor.buy(24)
    async with shop.app[DATABASE].read() as connection:
        payment_id = (await connection.execute(select(payments.c.id))).scalar_one()
    event = Event("event", kind, Outcome(kind), payment_id)
    assert await shop.app[PAYMENTS].apply("mock", event) == kind
    await visitor.open("/account/money")
    assert "18.00 ZNC of your next top-ups will repay it." in plain(visitor)
    await visitor.open(f"/account/payments/{payment_id}")
    reason = {"refunded": "was refunded", "disputed": "because it was disputed"}[kind]
    assert reason in visitor.text
    assert "18.00 ZNC of it had already been spent" in plain(visitor)
    await top_up(visitor, "5")
    await visitor.open("/account/money")
    assert "13.00 ZNC of your next top-ups will repay it." in plain(visitor)
    assert "repays a reversed payment" in visitor.text


async def test_no_buyer_is_charged_a_price_that_was_not_shown(make_gate: MakeGate) -> None:
    gate = await make_gate(debug=True, payment_providers=["mock"], token_price_24h="18.00")
    values: dict[str, Any] = {"name": "B", "duration_hours": 24, "token_count": 2}
    bundle = await gate.app[BUNDLES].create(GATE, **values, scope="full", price=Decimal("30.00"))
    visitor = await Visitor(gate).register()
    await top_up(visitor, "100")
    await visitor.open("/account/buy")
    gate.app[SETTINGS].token_price_24h = Decimal("20.00")
    await gate.app[BUNDLES].change(GATE, bundle.id, price=Decimal("40.00"))
    await visitor.send("/account/buy", duration_hours="24", scope="full", seen_24="18.00", once="a")
    assert visitor.status == 422
    assert "The price has changed in the meantime." in visitor.text
    assert "20.00 ZNC" in plain(visitor)
    await visitor.send(f"/account/bundles/{bundle.id}", seen="30.00", once="b")
    assert "The price has changed in the meantime." in visitor.text
    await visitor.open("/account/money")
    assert "100.00 ZNC" in plain(visitor)
    await visitor.open("/account/buy")
    seen = visitor.soup.find("input", attrs={"name": "seen"})["value"]
    await visitor.send(f"/account/bundles/{bundle.id}", seen=seen, once="c")
    assert "2 tokens bought." in visitor.text


async def test_going_back_and_changing_the_form_is_another_payment_or_purchase(
    shop: GateClient,
) -> None:
    visitor = await Visitor(shop).register()
    await visitor.open("/account/money")
    for amount in ("10", "12", "10"):
        await visitor.send("/account/money/top-up", amount=amount, provider="mock", once="one")
        assert visitor.status == 200
    await visitor.open("/account/money")
    assert "22.00 ZNC" in plain(visitor)
    for hours in ("1", "24", "1"):
        await visitor.send("/account/buy", duration_hours=hours, scope="full", once="one")
        assert visitor.status == 200
    await visitor.open("/account/money")
    assert "2.00 ZNC" in plain(visitor)
    await visitor.open("/account")
    assert len(visitor.soup.select(".ticket")) == 2

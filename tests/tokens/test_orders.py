"""Orders: a payment buys what was chosen, once, also without the browser."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from tests.kit.api import call, give, sign_up, user_id_of
from tests.kit.gates import GateClient, MakeGate, Stores, running_gate
from tests.kit.payments import assert_whole, balance_of, mock_event, send_webhook, signed
from tests.kit.visitors import Visitor
from zenzefi.audit.log import GATE
from zenzefi.billing import settlement
from zenzefi.billing.models import orders, payments
from zenzefi.billing.payments import PAYMENTS
from zenzefi.billing.providers.base import Event, Outcome
from zenzefi.db.engine import DATABASE
from zenzefi.maintenance.reconciliation import reconcile
from zenzefi.settings import SETTINGS
from zenzefi.tokens.bundles import BUNDLES
from zenzefi.tokens.orders import ORDERS, Choice
from zenzefi.tokens.service import TOKENS

PRICED: dict[str, Any] = {
    "debug": True,
    "payment_providers": ["manual", "mock"],
    "token_price_1h": "2.00",
    "token_price_24h": "18.00",
    "rate_limit_api": "off",
}
DAY = Choice(duration_hours=24, scope="full")


async def order(
    gate: GateClient, choice: Choice = DAY, price: str = "18.00", amount: str = "18.00"
) -> str:
    """A waiting order of alice, to be paid with the provider mock; the ID of its payment."""
    user_id = await user_id_of(gate)
    async with gate.app[DATABASE].begin() as connection:
        opened = await gate.app[PAYMENTS].open(
            connection, GATE, user_id, amount=Decimal(amount), return_url=None, provider_name="mock"
        )
        await gate.app[ORDERS].insert(connection, GATE, opened, choice, Decimal(price))
    return str(opened.id)


async def tokens_of(gate: GateClient, bearer: str) -> list[dict[str, Any]]:
    _, found = await call(gate, "GET", "/tokens/my-tokens", bearer=bearer)
    return list(found)


async def status_of(gate: GateClient, payment_id: str) -> tuple[str, str | None]:
    found = await gate.app[ORDERS].of_payment(UUID(payment_id))
    assert found is not None
    return found.status, found.reason


async def visitor_who_pays(gate: GateClient, hours: int = 24) -> Visitor:
    """A visitor with no money who chose a token and is asked to pay for it."""
    visitor = await Visitor(gate).register("alice")
    await visitor.open("/account/buy")
    await visitor.send("/account/buy", duration_hours=str(hours), scope="full", once="x")
    return visitor


async def test_with_too_little_balance_exactly_the_missing_amount_is_asked(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(
        **PRICED, payment_currency="EUR", currency_rates='{"EUR": "0.5", "USD": "0.6"}'
    )
    visitor = await Visitor(gate).register("alice")
    await give(gate, "5.60")
    await visitor.open("/account/buy")
    await visitor.send("/account/buy", duration_hours="24", scope="full", once="x")
    assert "Pay €6.20 and get it" in visitor.text
    assert "12.40 ZNC" in visitor.text.replace("\xa0", " ")
    await visitor.send(
        "/account/buy/pay", hours="24", scope="full", seen="18.00", provider="mock", once="y"
    )
    assert "Paid, and bought." in visitor.text
    await visitor.open(visitor.soup.select_one('a[href^="/account/tokens/"]')["href"])
    assert "Ready" in visitor.text
    await visitor.open("/account/money")
    assert "0.00 ZNC" in visitor.text.replace("\xa0", " ")
    await assert_whole(gate)


async def test_the_order_waits_for_the_payment_and_needs_no_browser(make_gate: MakeGate) -> None:
    gate = await make_gate(**PRICED)
    visitor = await visitor_who_pays(gate)
    await visitor.send(
        "/account/buy/pay", hours="24", scope="full", seen="18.00", provider="manual", once="y"
    )
    assert "You get it as soon as the payment arrives" in visitor.text
    (opened,), _ = await gate.app[PAYMENTS].listed(limit=5, offset=0)
    payment_id = str(opened.id)
    async with gate.app[DATABASE].begin() as connection:
        await gate.app[PAYMENTS].confirm(connection, GATE, UUID(payment_id))
    assert await status_of(gate, payment_id) == ("completed", None)
    await assert_whole(gate)


async def test_a_price_that_was_not_shown_is_not_paid(make_gate: MakeGate) -> None:
    gate = await make_gate(**PRICED)
    visitor = await visitor_who_pays(gate)
    gate.app[SETTINGS].token_price_24h = Decimal("20.00")
    await visitor.send(
        "/account/buy/pay", hours="24", scope="full", seen="18.00", provider="mock", once="y"
    )
    assert visitor.status == 422
    assert "The price has changed" in visitor.text


@pytest.mark.parametrize(
    "query",
    ["hours=7", "hours=24&scope=none", "hours=²", "hours=" + "9" * 50, "bundle=x", "", "hours=-1"],
)
async def test_what_is_not_on_sale_can_not_be_ordered(make_gate: MakeGate, query: str) -> None:
    gate = await make_gate(**PRICED)
    visitor = await Visitor(gate).register("alice")
    await visitor.open(f"/account/buy/pay?{query}")
    assert visitor.status == 404


async def test_the_agreed_price_is_charged_also_after_the_price_has_risen(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(**PRICED)
    bearer = await sign_up(gate)
    payment_id = await order(gate)
    gate.app[SETTINGS].token_price_24h = Decimal("50.00")
    assert await send_webhook(gate, payment_id, "paid", "180.00") == "credited"
    (token,) = await tokens_of(gate, bearer)
    assert token["cost_znc"] == "18.00"
    await assert_whole(gate)


async def test_a_bundle_is_ordered_too(make_gate: MakeGate) -> None:
    gate = await make_gate(**PRICED)
    bearer = await sign_up(gate)
    made = await gate.app[BUNDLES].create(
        GATE, name="B", duration_hours=1, token_count=3, scope="full", price=Decimal("5.00")
    )
    payment_id = await order(gate, Choice(bundle_id=made.id), "5.00", "5.00")
    await send_webhook(gate, payment_id, "paid", "50.00")
    assert len(await tokens_of(gate, bearer)) == 3
    assert await status_of(gate, payment_id) == ("completed", None)
    await assert_whole(gate)


async def test_money_that_was_spent_meanwhile_fails_the_order_and_keeps_the_payment(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(**PRICED)
    bearer = await sign_up(gate)
    payment_id = await order(gate, amount="10.00")  # 8.00 were on the balance and are gone
    assert await send_webhook(gate, payment_id, "paid") == "credited"
    assert await status_of(gate, payment_id) == ("failed", "insufficient_balance")
    assert await balance_of(gate, bearer) == "10.00"
    assert await tokens_of(gate, bearer) == []
    await assert_whole(gate)


async def test_a_scope_that_was_removed_fails_the_order_and_keeps_the_payment(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(**PRICED)
    bearer = await sign_up(gate)
    payment_id = await order(gate, Choice(duration_hours=24, scope="gone"))
    assert await send_webhook(gate, payment_id, "paid", "180.00") == "credited"
    assert (await status_of(gate, payment_id))[0] == "failed"
    assert await balance_of(gate, bearer) == "18.00"
    await assert_whole(gate)


async def test_a_cancelled_order_that_is_paid_only_credits_the_balance(make_gate: MakeGate) -> None:
    gate = await make_gate(**PRICED)
    bearer = await sign_up(gate)
    payment_id = await order(gate)
    await call(gate, "POST", f"/currency/payments/{payment_id}/cancel", bearer=bearer)
    await send_webhook(gate, payment_id, "paid", "180.00")
    assert await status_of(gate, payment_id) == ("cancelled", None)
    assert await balance_of(gate, bearer) == "18.00"
    await assert_whole(gate)


async def test_an_expired_order_that_is_paid_is_completed(make_gate: MakeGate) -> None:
    gate = await make_gate(**PRICED)
    bearer = await sign_up(gate)
    payment_id = await order(gate)
    await send_webhook(gate, payment_id, "expired", "180.00")
    await send_webhook(gate, payment_id, "paid", "180.00")
    assert len(await tokens_of(gate, bearer)) == 1


async def test_many_events_on_two_nodes_complete_an_order_once(stores: Stores) -> None:
    async with AsyncExitStack() as stack:
        settings = stores.settings | PRICED
        nodes = [await stack.enter_async_context(running_gate(**settings)) for _ in range(2)]
        bearer = await sign_up(nodes[0])
        payment_id = await order(nodes[0])
        sent = [signed(mock_event(payment_id, "paid", "180.00")) for _ in range(5)]
        work: list[Any] = [
            call(nodes[n % 2], "POST", "/webhooks/payment/mock", **sent[n % 5]) for n in range(20)
        ]
        work += [nodes[n % 2].app[ORDERS].complete_credited() for n in range(4)]
        await asyncio.gather(*work)
        assert len(await tokens_of(nodes[1], bearer)) == 1
        assert await balance_of(nodes[1], bearer) == "0.00"
        await assert_whole(nodes[0])


async def test_the_job_completes_an_order_whose_payment_was_credited_without_it(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(**PRICED)
    bearer = await sign_up(gate)
    payment_id = await order(gate)
    event = Event(
        *("e", "paid", Outcome.PAID, UUID(payment_id)),
        charge="c",
        amount=Decimal("180.00"),
        currency="RUB",
    )
    async with gate.app[DATABASE].begin() as connection:  # as an older node does
        await settlement.apply(connection, "mock", event)
    (found,) = (await reconcile(gate.app[DATABASE])).discrepancies
    assert "an order does not match" in found.text
    await asyncio.gather(*(gate.app[ORDERS].complete_credited() for _ in range(3)))
    assert len(await tokens_of(gate, bearer)) == 1
    await assert_whole(gate)


@pytest.mark.parametrize("wrong", ["price", "payment"])
async def test_reconciliation_finds_an_order_that_differs_from_its_purchase(
    make_gate: MakeGate, wrong: str
) -> None:
    gate = await make_gate(**PRICED)
    await sign_up(gate)
    payment_id = await order(gate)
    await send_webhook(gate, payment_id, "paid", "180.00")
    await assert_whole(gate)
    async with gate.app[DATABASE].begin() as connection:
        if wrong == "price":
            await connection.execute(update(orders).values(price=Decimal("17.00")))
        else:
            other = await gate.app[PAYMENTS].open(
                connection,
                GATE,
                (await connection.execute(select(payments.c.user_id))).scalar_one(),
                amount=Decimal(1),
                return_url=None,
                provider_name="mock",
            )
            await connection.execute(update(orders).values(payment_id=other.id))
    found = (await reconcile(gate.app[DATABASE])).discrepancies
    assert [one.text for one in found] == ["an order does not match its payment and its purchase"]


async def test_the_form_sent_twice_opens_one_payment(make_gate: MakeGate) -> None:
    gate = await make_gate(**PRICED)
    visitor = await visitor_who_pays(gate)
    csrf = visitor.csrf
    for _ in range(2):
        await visitor.send(
            "/account/buy/pay",
            csrf=csrf,
            hours="24",
            scope="full",
            seen="18.00",
            provider="manual",
            once="y",
        )
        assert visitor.status == 200
    found, total = await gate.app[PAYMENTS].listed(limit=5, offset=0)
    assert (total, found[0].amount_znc) == (1, Decimal("18.00"))


@pytest.mark.parametrize("hours", ["0000240", "000024999", "9" * 5000, "00002400000000"])
async def test_the_price_of_a_short_token_does_not_buy_a_long_one(
    make_gate: MakeGate, hours: str
) -> None:
    gate = await make_gate(**PRICED)
    visitor = await visitor_who_pays(gate)
    await visitor.send("/account/buy/pay", hours=hours, scope="full", provider="mock", once="y")
    assert visitor.status == 404
    await visitor.open("/account/buy")
    await visitor.send("/account/buy", duration_hours=hours, scope="full", once="z")
    assert visitor.status == 422
    assert (await gate.app[PAYMENTS].listed(limit=5, offset=0))[1] == 0


async def test_the_amount_on_the_button_is_the_amount_that_is_charged(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(
        **PRICED | {"token_price_1h": "0.25"},
        payment_currency="EUR",
        currency_rates='{"EUR": "0.1"}',
    )
    visitor = await visitor_who_pays(gate, 1)
    assert "Pay €0.03 and get it" in visitor.text
    await visitor.send(
        "/account/buy/pay", hours="1", scope="full", seen="0.25", provider="mock", once="y"
    )
    (paid,), _ = await gate.app[PAYMENTS].listed(limit=5, offset=0)
    assert paid.amount_rub == Decimal("0.03")


async def test_a_price_that_changes_while_the_form_is_handled_is_not_charged(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = await make_gate(**PRICED)
    visitor = await Visitor(gate).register("alice")
    await give(gate, "50.00")
    await visitor.open("/account/buy")
    offers, read = gate.app[TOKENS].offers, gate.app[TOKENS].offers.current

    async def then_it_rises(connection: Any = None) -> Any:
        found = await read(connection)
        gate.app[SETTINGS].token_price_24h = Decimal("20.00")
        return found

    monkeypatch.setattr(offers, "current", then_it_rises)
    choice: dict[str, Any] = {"duration_hours": "24", "scope": "full", "seen_24": "18.00"}
    await visitor.send("/account/buy", **choice, once="y")
    assert "The price has changed" in visitor.text
    await visitor.open("/account/money")
    assert "50.00 ZNC" in visitor.text.replace("\xa0", " ")


@pytest.mark.parametrize(
    ("rate", "minimum", "paid", "kept"),
    [("0.001", "0.01", "0.01", "9.99"), ("0.1", "0.50", "0.50", "4.99")],
)
async def test_the_smallest_payment_is_asked_where_less_is_missing(
    make_gate: MakeGate, rate: str, minimum: str, paid: str, kept: str
) -> None:
    gate = await make_gate(
        **PRICED | {"token_price_1h": "0.01"},
        payment_currency="EUR",
        currency_rates=f'{{"EUR": "{rate}"}}',
        payment_minimum=minimum,
    )
    visitor = await visitor_who_pays(gate, 1)
    assert f"Pay €{paid} and get it" in visitor.text
    assert "That is the smallest payment." in visitor.text
    await visitor.send(
        "/account/buy/pay", hours="1", scope="full", seen="0.01", provider="mock", once="y"
    )
    assert "Paid, and bought." in visitor.text
    await visitor.open("/account/money")
    assert f"{kept} ZNC" in visitor.text.replace("\xa0", " ")
    await assert_whole(gate)


async def test_a_round_amount_is_paid_and_the_rest_stays_on_the_balance(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(**PRICED)
    visitor = await visitor_who_pays(gate)
    assert "Pay RUB 200.00" in visitor.text.replace("\xa0", " ")
    await visitor.send(
        "/account/buy/pay", hours="24", scope="full", seen="18.00", provider="round:mock", once="y"
    )
    assert "Paid, and bought." in visitor.text
    (opened,), _ = await gate.app[PAYMENTS].listed(limit=5, offset=0)
    assert (opened.amount_znc, opened.amount_rub) == (Decimal("20.00"), Decimal("200.00"))
    await visitor.open("/account/money")
    assert "2.00 ZNC" in visitor.text.replace("\xa0", " ")
    await assert_whole(gate)

"""Notices: once for each event, in the reader's language, and none is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from tests.kit.api import buy, give, sign_up, user_id_of
from tests.kit.gates import GateClient, MakeGate
from tests.kit.payments import open_payment, send_webhook
from tests.kit.smtp_server import SmtpServer
from tests.kit.visitors import Visitor
from tests.kit.waiting import until
from zenzefi.accounts.models import users, web_sessions
from zenzefi.audit.log import GATE
from zenzefi.db.base import utcnow
from zenzefi.db.engine import DATABASE
from zenzefi.mail.models import mail_notices
from zenzefi.maintenance.notices import Notices
from zenzefi.runtime.jobs import JOBS, Jobs
from zenzefi.tokens.models import access_tokens
from zenzefi.tokens.renewals import RENEWALS

MakeShop = Callable[..., Awaitable[GateClient]]


@pytest.fixture(autouse=True)
def no_other_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests run the job themselves; a leader in the background would take notices from them."""

    async def idle(_: Jobs) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Jobs, "run", idle)


@pytest.fixture
def make_shop(make_gate: MakeGate, smtp_server: SmtpServer) -> MakeShop:
    """A gate with prices that sends e-mail."""

    async def make(**more: Any) -> GateClient:
        return await make_gate(
            **{
                "mail_url": smtp_server.url,
                "debug": True,
                "payment_providers": ["mock"],
                "token_price_1h": "1.00",
                "token_price_24h": "18.00",
                **more,
            }
        )

    return make


def notices_of(gate: GateClient) -> Notices:
    (job,) = [job for job in gate.app[JOBS]._jobs if job.name == "notices"]
    found: Notices = job.work.__self__  # type: ignore[attr-defined]
    return found


async def confirm(gate: GateClient, **values: Any) -> None:
    """All addresses are confirmed."""
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(update(users).values(email_verified_at=utcnow(), **values))


async def customer(gate: GateClient, server: SmtpServer) -> str:
    """A user with a confirmed address, after the e-mail about the registration; the bearer."""
    bearer = await sign_up(gate)
    await until(lambda: server.received)
    server.received.clear()
    server.attempts = 0
    await confirm(gate)
    return bearer


async def activate(gate: GateClient, hours_left: int) -> None:
    """All tokens are in use and end in so many hours."""
    async with gate.app[DATABASE].begin() as connection:
        query = select(access_tokens.c.duration_hours).limit(1)
        hours = (await connection.execute(query)).scalar_one()
        now = (await connection.execute(select(utcnow()))).scalar_one()
        begun = now - timedelta(hours=hours - hours_left)
        await connection.execute(update(access_tokens).values(activated_at=begun))


def told(server: SmtpServer) -> list[str]:
    """The texts of the notices; registering sends another e-mail."""
    texts = [message.get_content().replace("\xa0", " ") for message in server.received]
    return [text for text in texts if "/account/notices" in text]


async def test_a_payment_that_arrives_is_told_once(
    make_shop: MakeShop, smtp_server: SmtpServer
) -> None:
    gate = await make_shop()
    bearer = await customer(gate, smtp_server)
    payment_id = await open_payment(gate, bearer)
    await send_webhook(gate, payment_id, "paid")
    await asyncio.gather(*(notices_of(gate).run() for _ in range(4)))
    await notices_of(gate).run()
    (message,) = smtp_server.received
    assert message["To"] == "alice@example.com"
    assert "Your payment of 10.00 ZNC has arrived." in message.get_content().replace("\xa0", " ")
    assert "/account/notices" in message.get_content()


@pytest.mark.parametrize(("left", "subject"), [(1, "ends soon"), (0, "has ended")])
async def test_the_end_of_a_token_is_told_in_the_readers_language(
    make_shop: MakeShop, smtp_server: SmtpServer, left: int, subject: str
) -> None:
    gate = await make_shop()
    bearer = await customer(gate, smtp_server)
    await give(gate, "30.00")
    await buy(gate, bearer, duration_hours=24, name="Office")
    await confirm(gate, locale="ru" if left else "en")
    await activate(gate, left)
    await notices_of(gate).run()
    (message,) = smtp_server.received
    if left:
        assert "скоро закончится" in message["Subject"]
    else:
        assert subject in message["Subject"]
    assert "Office" in message["Subject"]


async def test_a_renewal_is_told_before_and_after(
    make_shop: MakeShop, smtp_server: SmtpServer
) -> None:
    gate = await make_shop(token_price_1h="off")
    bearer = await customer(gate, smtp_server)
    await give(gate, "60.00")
    owner, renewals = await user_id_of(gate), gate.app[RENEWALS]
    for name in ("first", "second"):
        token = await buy(gate, bearer, duration_hours=24, name=name)
        await renewals.switch_on(GATE, UUID(token["id"]), owner, Decimal("20.00"))
    await activate(gate, 1)
    await notices_of(gate).run()
    texts = told(smtp_server)
    assert len(texts) == 2
    assert all("for at most 20.00 ZNC. You can stop this" in " ".join(t.split()) for t in texts)
    smtp_server.received.clear()
    await activate(gate, 0)
    for _ in range(2):
        await renewals.renew_ended()
        await notices_of(gate).run()
    subjects = " ".join(str(message["Subject"]) for message in smtp_server.received)
    assert len(smtp_server.received) == 2
    assert subjects.count("has been renewed") == subjects.count("could not be renewed") == 1


async def test_a_low_balance_is_told_when_it_falls_below_the_limit(
    make_shop: MakeShop, smtp_server: SmtpServer
) -> None:
    gate = await make_shop(notice_balance_below="5.00")
    bearer = await sign_up(gate)
    await give(gate, "7.00")
    await confirm(gate)
    for _ in range(4):  # 6, 5, 4, 3
        await buy(gate, bearer, duration_hours=1)
    await notices_of(gate).run()
    (text,) = told(smtp_server)
    assert "Your balance is 4.00 ZNC." in text


async def test_a_sign_in_with_a_new_browser_is_told(
    make_shop: MakeShop, smtp_server: SmtpServer
) -> None:
    gate = await make_shop()
    visitor = await Visitor(gate).register("alice")
    await confirm(gate)
    await notices_of(gate).run()
    assert told(smtp_server) == []
    async with gate.app[DATABASE].begin() as connection:
        (first,) = (await connection.execute(select(web_sessions))).all()
        for number, agent in enumerate((first.agent, "Lynx/2.9")):
            values = dict(first._mapping) | {"agent": agent, "created_at": utcnow()}
            del values["id"]
            values["secret_index"] = bytes([number]) * 32
            await connection.execute(web_sessions.insert().values(values))
    await notices_of(gate).run()
    assert visitor.status == 200
    (text,) = told(smtp_server)
    assert "Lynx/2.9" in text


async def test_a_mail_server_that_is_down_loses_no_notice(
    make_shop: MakeShop, smtp_server: SmtpServer
) -> None:
    gate = await make_shop()
    bearer = await customer(gate, smtp_server)
    await send_webhook(gate, await open_payment(gate, bearer), "paid")
    smtp_server.failures = 2
    for _ in range(3):
        await notices_of(gate).run()
        async with gate.app[DATABASE].begin() as connection:  # the pause is over
            await connection.execute(update(mail_notices).values(due_at=utcnow()))
    await notices_of(gate).run()
    assert len(smtp_server.received) == 1
    assert smtp_server.attempts == 3


async def test_two_nodes_send_a_notice_once(make_shop: MakeShop, smtp_server: SmtpServer) -> None:
    nodes = [await make_shop(), await make_shop()]
    bearer = await customer(nodes[0], smtp_server)
    for _ in range(3):
        await send_webhook(nodes[0], await open_payment(nodes[0], bearer), "paid")
    await asyncio.gather(*(notices_of(nodes[n % 2]).run() for n in range(6)))
    assert len(smtp_server.received) == 3


async def test_a_notice_that_is_switched_off_is_not_sent(
    make_shop: MakeShop, smtp_server: SmtpServer
) -> None:
    gate = await make_shop()
    visitor = await Visitor(gate).register("alice")
    await confirm(gate)
    await visitor.open("/account/notices")
    boxes = [box["name"] for box in visitor.soup.select('input[type="checkbox"][checked]')]
    assert "payment_arrived" in boxes
    kept: dict[str, Any] = {name: "on" for name in boxes if name != "payment_arrived"}
    await visitor.send("/account/notices", **kept)
    assert visitor.soup.select_one('input[name="payment_arrived"]').get("checked") is None
    assert visitor.soup.select_one('input[name="token_ended"]').get("checked") is not None
    await visitor.open("/account/money")
    await visitor.send("/account/money/top-up", amount="5", provider="mock", once="x")
    await notices_of(gate).run()
    assert told(smtp_server) == []


async def test_an_address_that_is_not_confirmed_gets_no_notice(
    make_shop: MakeShop, smtp_server: SmtpServer
) -> None:
    gate = await make_shop()
    bearer = await sign_up(gate)
    await send_webhook(gate, await open_payment(gate, bearer), "paid")
    await notices_of(gate).run()
    assert told(smtp_server) == []


async def test_a_notice_does_not_go_to_an_address_that_is_no_longer_confirmed(
    make_shop: MakeShop, smtp_server: SmtpServer
) -> None:
    gate = await make_shop()
    bearer = await sign_up(gate)
    await confirm(gate)
    payment_id = await open_payment(gate, bearer, "12.50")
    await send_webhook(gate, payment_id, "paid", "125.00")
    notices = notices_of(gate)
    await notices.collect()
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(
            update(users).values(email="typo@example.com", email_verified_at=None)
        )
    await notices.send()
    assert told(smtp_server) == []

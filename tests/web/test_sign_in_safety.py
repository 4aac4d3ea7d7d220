"""Two-step sign-in, and what e-mail is for: confirming an address, a forgotten password."""

from __future__ import annotations

import time

import pytest

from tests.kit.gates import GateClient, MakeGate
from tests.kit.visitors import PASSWORD, Visitor, enable_two_factor, last_link
from zenzefi.accounts.links import LINKS


async def api_login(gate: GateClient, **fields: str) -> int:
    body = {"email": "marta@example.com", "password": PASSWORD, **fields}
    return (await gate.post("/api/v1/auth/login", json=body)).status


async def test_with_the_second_step_a_password_alone_opens_nothing(gate: GateClient) -> None:
    _, codes = await enable_two_factor(await Visitor(gate).register())
    assert len(codes) == 10
    other = await Visitor(gate).login()
    assert other.soup.find(id="f-code")
    assert "zenzefi_session" not in other.cookies
    await other.open("/account", follow=False)
    assert other.location.startswith("/login")
    assert await api_login(gate) == 401
    assert await api_login(gate, code="000000") == 401
    assert await api_login(gate, code=codes[0]) == 200
    assert await api_login(gate, code=codes[0]) == 401  # good once


async def test_a_code_of_the_app_works_once(gate: GateClient) -> None:
    app, _ = await enable_two_factor(await Visitor(gate).register())
    following = app.at(int(time.time()) + 30)  # the current one was used for switching on
    assert await api_login(gate, code=app.now()) == 401
    other = await Visitor(gate).login()
    await other.send("/login/code", code=following)
    assert "zenzefi_session" in other.cookies
    assert await api_login(gate, code=following) == 401


async def test_guessing_codes_pauses(make_gate: MakeGate) -> None:
    gate = await make_gate(rate_limit_login="off")
    await enable_two_factor(await Visitor(gate).register())
    other = await Visitor(gate).login()
    for _ in range(11):
        await other.send("/login/code", code="000000")
        assert other.status == 422
    assert "Too many wrong codes." in other.text


async def test_switching_it_off_needs_the_password(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    await enable_two_factor(visitor)
    await visitor.open("/account/two-factor/off")
    await visitor.send("/account/two-factor/off", current="wrong")
    assert visitor.status == 422
    await visitor.open("/account/two-factor/codes")
    await visitor.send("/account/two-factor/codes", current=PASSWORD)
    assert len(visitor.soup.select(".codes li")) == 10
    await visitor.open("/account/two-factor/off")
    await visitor.send("/account/two-factor/off", current=PASSWORD)
    assert "Two-step sign-in is off." in visitor.text
    assert await api_login(gate) == 200


@pytest.fixture
async def mailing(make_gate: MakeGate, caplog: pytest.LogCaptureFixture) -> GateClient:
    """A gate that writes its e-mails to the log."""
    caplog.set_level("INFO", logger="zenzefi.mail")
    return await make_gate(mail_url="log:", debug=True, rate_limit_login="off")


async def test_an_address_is_confirmed_by_a_link_that_works_once(
    mailing: GateClient, caplog: pytest.LogCaptureFixture
) -> None:
    visitor = await Visitor(mailing).register()
    link = await last_link(mailing, caplog, "/register/confirm")
    secret = link.partition("=")[2]
    await visitor.open(link)
    await visitor.open("/account/profile")
    assert "not confirmed yet" in visitor.text  # looking at the link is not enough
    await visitor.open(link)
    await visitor.send("/register/confirm", link=secret)
    assert "Your e-mail address is confirmed." in visitor.text
    await visitor.open(link)
    await visitor.send("/register/confirm", link=secret)
    assert "has expired or was already used" in visitor.text


async def test_a_forgotten_password_is_replaced_and_every_sign_in_ends(
    mailing: GateClient, caplog: pytest.LogCaptureFixture
) -> None:
    there = await Visitor(mailing).register()
    here = await Visitor(mailing).open("/login/forgotten")
    await here.send("/login/forgotten", email="marta@example.com")
    known = here.text
    link = await last_link(mailing, caplog, "/login/reset")
    await here.open("/login/forgotten")
    await here.send("/login/forgotten", email="nobody@example.com")
    assert here.text == known
    assert await last_link(mailing, caplog, "/login/reset") == link  # no other message was sent
    await here.open(link)
    await here.send("/login/reset", link=link.partition("=")[2], password="short")
    assert here.status == 422
    await here.send("/login/reset", link=link.partition("=")[2], password="a new long one")
    assert "The new password is set." in here.text
    await there.open("/account", follow=False)
    assert there.location.startswith("/login")
    assert (await Visitor(mailing).login("marta", PASSWORD)).status == 422
    assert (await Visitor(mailing).login("marta", "a new long one")).status == 200
    await here.open("/login/reset")
    await here.send("/login/reset", link=link.partition("=")[2], password="once more now")
    assert "has expired or was already used" in here.text


async def test_a_link_for_one_purpose_is_worth_nothing_for_another(
    mailing: GateClient, caplog: pytest.LogCaptureFixture
) -> None:
    visitor = await Visitor(mailing).register()
    secret = (await last_link(mailing, caplog, "/register/confirm")).partition("=")[2]
    await visitor.open("/login/reset")
    await visitor.send("/login/reset", link=secret, password="a new long one")
    assert "has expired or was already used" in visitor.text
    assert mailing.app[LINKS]


async def test_without_a_mail_server_nothing_offers_e_mail(gate: GateClient) -> None:
    visitor = await Visitor(gate).open("/login")
    assert "Forgotten" not in visitor.text
    await visitor.open("/login/forgotten")
    assert visitor.status == 404

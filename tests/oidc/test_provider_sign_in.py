"""Sign-in with an identity provider over HTTP: new accounts, connected ones, the only way."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import select

from tests.kit.gates import GateClient
from tests.kit.identity_provider import MakeWithProvider, Provider, actions, sign_in
from tests.kit.visitors import PASSWORD, Visitor, enable_two_factor
from zenzefi.accounts.models import user_identities, users
from zenzefi.db.engine import DATABASE


async def test_a_new_person_gets_an_account_with_a_confirmed_address(
    make: MakeWithProvider, provider: Provider
) -> None:
    gate = await make()
    marta = Visitor(gate)
    await marta.open("/login?next=/account/money")
    link = marta.soup.find("a", string="Sign in with Company")
    await sign_in(marta, provider, link["href"])
    assert marta.status == 200
    assert marta.soup.title.get_text().startswith("Money")
    async with gate.app[DATABASE].read() as connection:
        row = (await connection.execute(select(users))).one()
    assert (row.username, row.email, row.full_name) == (
        "marta",
        "marta@example.com",
        "Marta Jansen",
    )
    assert row.email_verified_at is not None
    assert row.password_hash == ""
    assert await actions(gate) == ["user.identity_connected", "user.registered", "user.signed_in"]
    again = Visitor(gate)
    await sign_in(again, provider)
    assert "Sign out" in again.html
    async with gate.app[DATABASE].read() as connection:
        assert len((await connection.execute(select(users.c.id))).all()) == 1
    # No password opens the account.
    stranger = await Visitor(gate).login(password="")
    assert stranger.status == 422


async def test_a_taken_username_gets_a_suffix(make: MakeWithProvider, provider: Provider) -> None:
    gate = await make()
    await Visitor(gate).register("marta")
    provider.person.email = "other@example.com"
    other = Visitor(gate)
    await sign_in(other, provider)
    await other.open("/account/profile")
    assert "marta-" in other.text


async def test_an_account_is_connected_after_its_owner_has_confirmed(
    make: MakeWithProvider, provider: Provider
) -> None:
    gate = await make()
    await Visitor(gate).register()
    marta = Visitor(gate)
    await sign_in(marta, provider)
    # The provider's statement about the address opens nothing.
    assert "There is an account with the address marta@example.com" in marta.text
    assert "Sign out" not in marta.html
    await marta.send(
        "/login", email="marta@example.com", password=PASSWORD, next="/account/identities/connect"
    )
    assert "Connect this sign-in?" in marta.text
    assert await identities(gate) == []
    await marta.send("/account/identities/connect")
    assert "You can now sign in with Company." in marta.text
    assert "zenzefi_connect" not in " ".join(marta.cookies)
    fresh = Visitor(gate)
    await sign_in(fresh, provider)
    assert "Sign out" in fresh.html


async def identities(gate: GateClient) -> list[str]:
    async with gate.app[DATABASE].read() as connection:
        return list((await connection.execute(select(user_identities.c.subject))).scalars())


async def test_a_statement_about_one_address_connects_no_other_account(
    make: MakeWithProvider, provider: Provider
) -> None:
    gate = await make()
    await Visitor(gate).register("marta")
    await Visitor(gate).register("nina")
    visitor = Visitor(gate)
    await sign_in(visitor, provider)  # as marta, then nina signs in
    await visitor.send("/login", email="nina@example.com", password=PASSWORD)
    await visitor.open("/account/identities/connect")
    assert "Connect this sign-in?" not in visitor.text
    await visitor.send("/account/identities/connect")
    assert await identities(gate) == []


@pytest.mark.parametrize("verified", [False, None, "false", 1, [True]])
async def test_an_address_that_is_not_verified_creates_and_connects_nothing(
    make: MakeWithProvider, provider: Provider, verified: Any
) -> None:
    gate = await make()
    await Visitor(gate).register()
    provider.person.email_verified = verified
    marta = Visitor(gate)
    await sign_in(marta, provider)
    assert marta.status == 403
    assert "not verified" in marta.text
    provider.person.email = "someone@example.com"
    await sign_in(marta, provider)
    assert marta.status == 403
    assert await identities(gate) == []


async def test_an_operator_can_trust_addresses_without_the_claim(
    make: MakeWithProvider, provider: Provider
) -> None:
    gate = await make({"trust_email": True})
    provider.person.email_verified = None
    provider.claims["email_verified"] = None
    marta = Visitor(gate)
    await sign_in(marta, provider)
    assert "Sign out" in marta.html


async def test_only_a_provider_that_may_creates_accounts(
    make: MakeWithProvider, provider: Provider
) -> None:
    gate = await make(registration="closed")
    marta = Visitor(gate)
    await sign_in(marta, provider)
    assert marta.status == 403
    assert "You have no account here" in marta.text
    other = await make({"create_accounts": True}, registration="closed")
    welcome = Visitor(other)
    await sign_in(welcome, provider)
    assert "Sign out" in welcome.html


async def test_mail_domains_hold_for_providers_too(
    make: MakeWithProvider, provider: Provider
) -> None:
    gate = await make(
        registration_domains=["example.org"], mail_url="smtp://127.0.0.1:1", mail_from="a@b.example"
    )
    marta = Visitor(gate)
    await sign_in(marta, provider)
    assert marta.status == 400
    assert "mail domain" in marta.text


async def test_two_step_sign_in_asks_for_its_code_after_the_provider(
    make: MakeWithProvider, provider: Provider
) -> None:
    gate = await make()
    first = Visitor(gate)
    await sign_in(first, provider)
    app, _ = await enable_two_factor(first)
    again = Visitor(gate)
    await sign_in(again, provider)
    assert "Enter your code" in again.text
    assert not any("session" in name for name in again.cookies)
    await again.send("/login/code", code="000000")
    assert again.status == 422
    await again.send("/login/code", code=app.at(int(time.time()) + 30))
    assert "Sign out" in again.html


async def test_a_sign_in_is_connected_on_the_profile_after_the_password(
    make: MakeWithProvider, provider: Provider
) -> None:
    gate = await make()
    marta = await Visitor(gate).register()
    provider.person.email = "elsewhere@example.net"
    await marta.open("/account/identities/add/company")
    await marta.send("/account/identities/add/company", current="wrong password")
    assert marta.status == 422
    await marta.send("/account/identities/add/company", current=PASSWORD)
    back = provider.authorize(marta.soup.find("a", string="Continue to Company")["href"])
    # In another account the same return connects nothing.
    nina = await Visitor(gate).register("nina")
    flow = next(name for name in marta.cookies if name.endswith("zenzefi_provider"))
    nina.cookies[flow] = marta.cookies[flow]
    await nina.open(back)
    assert nina.status == 400
    assert await identities(gate) == []
    await marta.open("/account/identities/add/company")
    await marta.send("/account/identities/add/company", current=PASSWORD)
    await marta.open(provider.authorize(marta.soup.find("a", string="Continue to Company")["href"]))
    assert "You can now sign in with Company." in marta.text
    assert "elsewhere@example.net" in marta.text
    # The identity now belongs to marta: nina can't take it.
    await nina.open("/account/identities/add/company")
    await nina.send("/account/identities/add/company", current=PASSWORD)
    await nina.open(provider.authorize(nina.soup.find("a", string="Continue to Company")["href"]))
    assert "connected to another account" in nina.text


async def test_the_only_way_to_sign_in_is_not_removed(
    make: MakeWithProvider, provider: Provider
) -> None:
    gate = await make()
    marta = Visitor(gate)
    await sign_in(marta, provider)
    await marta.open("/account/profile")
    action = marta.soup.select_one("form[action$='/remove']")["action"]
    await marta.send(action)
    assert "This is your only way to sign in." in marta.text
    # A recent sign-in stands for the password that the account does not have yet.
    await marta.send("/account/profile/password", password="a much better one")
    assert "The password is changed." in marta.text
    await marta.send(action)
    assert "The sign-in is removed." in marta.text
    assert await identities(gate) == []
    assert "user.identity_removed" in await actions(gate)


async def test_a_removed_sign_in_ends_the_sessions_that_were_opened_with_it(
    make: MakeWithProvider, provider: Provider
) -> None:
    gate = await make()
    owner, thief = await Visitor(gate).register(), Visitor(gate)
    provider.person.email = "elsewhere@example.net"
    await owner.open("/account/identities/add/company")
    await owner.send("/account/identities/add/company", current=PASSWORD)
    await owner.open(provider.authorize(owner.soup.find("a", string="Continue to Company")["href"]))
    await sign_in(thief, provider)
    assert "Sign out" in thief.html
    await owner.open("/account/profile")
    await owner.send(owner.soup.select_one("form[action$='/remove']")["action"])
    assert "The sign-in is removed." in owner.text
    await thief.open("/account/profile", follow=False)
    assert thief.status == 303
    await owner.open("/account/profile")
    assert owner.status == 200


async def test_begun_sign_ins_fit_into_a_cookie(make: MakeWithProvider, provider: Provider) -> None:
    gate = await make()
    marta = Visitor(gate)
    for _ in range(3):  # browsers drop a cookie of more than 4096 bytes: then no sign-in works
        await marta.open(f"/login/with/company?next=/account?{'%22' * 480}", follow=False)
        flow = next(name for name in marta.cookies if name.endswith("zenzefi_provider"))
        assert len(flow) + len(marta.cookies[flow]) < 4000
    await marta.open(provider.authorize(marta.location))
    assert "Sign out" in marta.html


async def test_a_sealed_cookie_is_not_taken_for_another(
    make: MakeWithProvider, provider: Provider
) -> None:
    gate = await make()
    await Visitor(gate).register("nina")
    provider.person.email = "nina@example.com"
    marta = Visitor(gate)
    await sign_in(marta, provider)  # leaves the statement that waits for the owner
    await marta.open("/login/with/company", follow=False)
    names = {name.rpartition("_")[2]: name for name in marta.cookies}
    sealed = [marta.cookies[names[one]] for one in ("connect", "provider")]
    halfway = names["connect"].replace("connect", "halfway")
    for value in sealed:
        marta.cookies[halfway] = value
        await marta.open("/login/code", follow=False)
        assert (marta.status, marta.location) == (303, "/login")


async def test_providers_as_the_only_way(make: MakeWithProvider, provider: Provider) -> None:
    before = await make()
    await Visitor(before).register()
    await Visitor(before).register("nina")
    gate = await make(password_sign_in=False)
    marta = await Visitor(gate).open("/login")
    assert marta.soup.find("input", attrs={"name": "password"}) is None
    for path in ("/login", "/register"):
        await marta.send(path, email="marta@example.com", username="x", password=PASSWORD)
        assert marta.status == 403
        assert "Passwords are not accepted here" in marta.text
    response = await gate.post(
        "/api/v1/auth/login", json={"email": "marta@example.com", "password": PASSWORD}
    )
    assert response.status == 403
    assert (await response.json())["code"] == "password_sign_in_off"
    # Who has a password connects the account with it, and no other account.
    await sign_in(marta, provider)
    await marta.send("/login", email="nina@example.com", password=PASSWORD)
    assert marta.status == 403
    await marta.open("/login")
    await marta.send(
        "/login", email="marta@example.com", password=PASSWORD, next="/account/identities/connect"
    )
    await marta.send("/account/identities/connect")
    assert "You can now sign in with Company." in marta.text
    assert marta.soup.find(id="password") is None


async def test_a_deactivated_account_is_not_opened(
    make: MakeWithProvider, provider: Provider
) -> None:
    gate = await make()
    await sign_in(Visitor(gate), provider)
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(users.update().values(is_active=False))
    marta = Visitor(gate)
    await sign_in(marta, provider)
    assert marta.status == 400
    assert not any("session" in name for name in marta.cookies)


async def test_a_planted_sign_in_is_not_completed_in_another_network(
    make: MakeWithProvider, provider: Provider
) -> None:
    """Where scripts of the application can write the gate's cookies (``PROXY_PORT``)."""
    gate = await make(
        backend_url="http://127.0.0.1:8000", proxy_port=8899, trusted_proxies="127.0.0.1"
    )
    attacker, victim = Visitor(gate), Visitor(gate)
    await attacker.open("/login/with/company", follow=False, X_Forwarded_For="192.0.2.1")
    back = provider.authorize(attacker.location)
    victim.cookies = dict(attacker.cookies)
    await victim.open(back, X_Forwarded_For="198.51.100.1")
    assert victim.status == 400
    await attacker.open(back, follow=False, X_Forwarded_For="192.0.2.7")
    assert (attacker.status, attacker.location) == (303, "/account")


async def test_several_windows_begin_and_complete_their_sign_ins(
    make: MakeWithProvider, provider: Provider
) -> None:
    gate = await make()
    marta = Visitor(gate)
    await marta.open("/login/with/company?next=/account/money", follow=False)
    first = marta.location
    await marta.open("/login/with/company?next=/account/buy", follow=False)
    await marta.open(provider.authorize(first), follow=False)
    assert marta.location == "/account/money"

"""Guessing is slow for strangers, and no stranger keeps an owner out; sign-ins and links end."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Table, select, update

from tests.kit import api
from tests.kit.gates import GateClient, MakeGate
from tests.kit.visitors import PASSWORD, Visitor, enable_two_factor, last_link, promote
from zenzefi.accounts import page_sessions
from zenzefi.accounts.links import MOST
from zenzefi.accounts.models import one_time_links, web_sessions
from zenzefi.db.engine import DATABASE
from zenzefi.mail.queue import MAIL_QUEUE
from zenzefi.settings import SETTINGS


async def guess(gate: GateClient, number: int, name: str = "marta") -> int:
    """A stranger's attempt, each from another address."""
    stranger = await Visitor(gate).open("/login")
    await stranger.send(
        "/login",
        follow=False,
        headers={"X-Forwarded-For": f"198.51.100.{number}"},
        email=f"{name}@example.com",
        password="a guess",
    )
    return stranger.status


async def test_strangers_can_not_keep_an_owner_out_of_a_browser_they_know(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(rate_limit_login_account="3/hour", trusted_proxies="127.0.0.0/8")
    owner = await Visitor(gate).register()
    await owner.send("/logout")
    assert [await guess(gate, n) for n in range(5)] == [422, 422, 422, 429, 429]
    elsewhere = {"X-Forwarded-For": "203.0.113.7"}
    fields: dict[str, Any] = {"email": "MARTA@example.com ", "password": PASSWORD}
    await owner.open("/login")
    await owner.send("/login", headers=elsewhere, **fields)
    assert "zenzefi_session" in owner.cookies
    new = await Visitor(gate).open("/login")
    await new.send("/login", headers=elsewhere, **fields)
    assert new.status == 429


async def test_a_known_browser_guesses_no_faster_and_knows_one_account_only(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(
        rate_limit_login="3/hour", rate_limit_login_account="3/hour", trusted_proxies="127.0.0.0/8"
    )
    await Visitor(gate).register("boris")
    carla = await Visitor(gate).register("carla")
    await carla.send("/logout")
    owner = await Visitor(gate).register()
    await owner.send("/logout")
    statuses = []
    for number in range(5):
        await owner.open("/login")
        await owner.send(
            "/login",
            headers={"X-Forwarded-For": f"198.51.100.{number}"},
            email="marta@example.com",
            password="a guess",
        )
        statuses.append(owner.status)
    assert statuses == [422, 422, 422, 429, 429]
    assert [await guess(gate, 10 + n, "boris") for n in range(4)] == [422, 422, 422, 429]
    for browser in (owner, carla):  # their cookies are for other accounts, used up or not
        await browser.open("/login")
        await browser.send(
            "/login",
            headers={"X-Forwarded-For": "203.0.113.8"},
            email="boris@example.com",
            password="a guess",
        )
        assert browser.status == 429


@pytest.mark.parametrize(
    "forge",
    [lambda c: ("B" if c[0] == "A" else "A") + c[1:], lambda c: c[:-1] + "g", lambda _: "a.b"],
    ids=["another mark", "no signature", "nonsense"],
)
async def test_an_invented_known_browser_counts_like_a_stranger(
    make_gate: MakeGate, forge: Any
) -> None:
    gate = await make_gate(rate_limit_login_account="1/hour", trusted_proxies="127.0.0.0/8")
    owner = await Visitor(gate).register()
    assert await guess(gate, 1) == 422
    owner.cookies["zenzefi_known"] = forge(owner.cookies["zenzefi_known"])
    await owner.send("/logout")
    await owner.open("/login")
    await owner.send("/login", email="marta@example.com", password=PASSWORD)
    assert owner.status == 429


async def test_who_found_a_browser_signed_in_can_not_guess_the_password_there(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(rate_limit_login="3/hour")
    thief = await Visitor(gate).register()
    for expected in ("not your current password",) * 3 + ("too many attempts",) * 2:
        await thief.open("/account/profile")
        await thief.send("/account/profile/password", current="guess", password="another one")
        assert expected in thief.text
    await thief.open("/account/two-factor/off")
    await thief.send("/account/two-factor/off", current=PASSWORD)
    assert "too many attempts" in thief.text


async def test_a_limited_visitor_sees_the_wait_and_a_link_back(make_gate: MakeGate) -> None:
    gate = await make_gate(rate_limit_login="1/hour")
    assert await guess(gate, 1) == 422
    visitor = await Visitor(gate).open("/login")
    await visitor.send("/login", email="marta@example.com", password=PASSWORD)
    assert visitor.status == 429
    assert re.search(r"Try again in \d+\s(h|min)", visitor.text)
    assert visitor.soup.select_one("main a")["href"].endswith("/login")
    russian = await Visitor(gate, language="ru").open("/login")
    await russian.send("/login", email="marta@example.com", password=PASSWORD)
    assert re.search(r"Попробуйте снова через \d+", russian.text)


async def change(gate: GateClient, table: Table, **values: Any) -> None:
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(update(table).values(**values))


async def column(gate: GateClient, table: Table, name: str) -> Any:
    async with gate.app[DATABASE].read() as connection:
        return (await connection.execute(select(table.c[name]))).scalars().all()


async def test_an_unused_sign_in_ends(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    idle = timedelta(hours=12)
    just_within = datetime.now(UTC) - idle + timedelta(minutes=1)
    await change(gate, web_sessions, last_seen_at=just_within)
    await visitor.open("/account", follow=False)
    assert visitor.status == 200
    (seen,) = await column(gate, web_sessions, "last_seen_at")
    assert datetime.now(UTC) - seen < timedelta(minutes=1)  # it was used just now
    await change(gate, web_sessions, last_seen_at=datetime.now(UTC) - idle - timedelta(seconds=1))
    await visitor.open("/account", follow=False)
    assert visitor.location.startswith("/login")


async def test_a_sign_in_ends_at_last_however_much_it_is_used(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    (ends,) = await column(gate, web_sessions, "expires_at")
    assert timedelta() < datetime.now(UTC) + timedelta(days=14) - ends < timedelta(minutes=1)
    await visitor.open("/account")
    assert await column(gate, web_sessions, "expires_at") == [ends]
    await change(gate, web_sessions, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    await visitor.open("/account", follow=False)
    assert visitor.location.startswith("/login")


@pytest.fixture
async def mailing(make_gate: MakeGate, caplog: pytest.LogCaptureFixture) -> GateClient:
    """A gate that writes its e-mails to the log."""
    caplog.set_level("INFO", logger="zenzefi.mail")
    return await make_gate(mail_url="log:", debug=True, rate_limit_login="off")


async def ask_for_link(gate: GateClient, caplog: pytest.LogCaptureFixture) -> str:
    visitor = await Visitor(gate).open("/login/forgotten")
    await visitor.send("/login/forgotten", email="marta@example.com")
    return (await last_link(gate, caplog, "/login/reset")).partition("=")[2]


async def test_a_link_lasts_an_hour_and_only_its_hash_is_kept(
    mailing: GateClient, caplog: pytest.LogCaptureFixture
) -> None:
    await Visitor(mailing).register()
    secret = await ask_for_link(mailing, caplog)
    async with mailing.app[DATABASE].read() as connection:
        rows = (await connection.execute(select(one_time_links))).all()
    assert rows
    for row in rows:
        assert not any(secret in str(cell) for cell in row)
        assert row.expires_at - row.created_at == timedelta(hours=1)
    await change(mailing, one_time_links, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    visitor = await Visitor(mailing).open(f"/login/reset?link={secret}")
    await visitor.send("/login/reset", link=secret, password="a new long one")
    assert "has expired or was already used" in visitor.text
    assert (await Visitor(mailing).login()).status == 200


async def test_a_new_link_ends_the_one_before(
    mailing: GateClient, caplog: pytest.LogCaptureFixture
) -> None:
    await Visitor(mailing).register()
    first = await ask_for_link(mailing, caplog)
    second = await ask_for_link(mailing, caplog)
    assert first != second
    visitor = await Visitor(mailing).open(f"/login/reset?link={first}")
    await visitor.send("/login/reset", link=first, password="a new long one")
    assert "has expired or was already used" in visitor.text
    await visitor.open(f"/login/reset?link={second}")
    await visitor.send("/login/reset", link=second, password="a new long one")
    assert "The new password is set." in visitor.text


async def test_repeated_requests_do_not_fill_a_mailbox(
    mailing: GateClient, caplog: pytest.LogCaptureFixture
) -> None:
    visitor = await Visitor(mailing).register()
    for _ in range(MOST + 3):
        said = await Visitor(mailing).open("/login/forgotten")
        await said.send("/login/forgotten", email="marta@example.com")
        assert "an e-mail with a link is on its way" in said.text  # the same for everybody
    for _ in range(MOST + 2):
        await visitor.open("/account/profile")
        await visitor.send("/account/profile/confirm")
    assert "already asked for several e-mails" in visitor.text
    await mailing.app[MAIL_QUEUE].join()
    assert len(re.findall(r"/login/reset\?link=", caplog.text)) == MOST
    assert len(re.findall(r"/register/confirm\?link=", caplog.text)) == MOST


async def test_the_owner_is_notified_of_changes_that_a_thief_would_make(
    mailing: GateClient, caplog: pytest.LogCaptureFixture
) -> None:
    visitor = await Visitor(mailing).register()
    await enable_two_factor(visitor)
    await visitor.open("/account/two-factor/off")
    await visitor.send("/account/two-factor/off", current=PASSWORD)
    await visitor.open("/account/profile")
    await visitor.send(
        "/account/profile/password", current=PASSWORD, password="another long password"
    )
    await mailing.app[MAIL_QUEUE].join()
    site = mailing.app[SETTINGS].public_origin.authority
    for subject in (
        f"Two-step sign-in at {site} was switched on",
        f"Two-step sign-in at {site} was switched off",
        f"Your password at {site} was changed",
    ):
        assert f"subject={subject}\n" in caplog.text
    assert "another long password" not in caplog.text


async def test_administration_over_the_api_insists_on_the_second_step_too(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(admin_two_factor=True, rate_limit_login="off")
    visitor = await Visitor(gate).register("root")
    await promote(gate)
    login = {"email": "root@example.com", "password": PASSWORD}

    async def bearer(**code: str) -> str:
        status, response = await api.call(gate, "POST", "/auth/login", json={**login, **code})
        assert status == 200
        return str(response["access_token"])

    before = await bearer()
    status, refused = await api.call(gate, "GET", "/admin/users", bearer=before)
    assert (status, refused["code"]) == (403, "second_factor_required")
    _, codes = await enable_two_factor(visitor)
    # A session without the second factor does not gain it later.
    assert (await api.call(gate, "GET", "/admin/users", bearer=before))[0] == 403
    proven = await bearer(code=codes[0])
    assert (await api.call(gate, "GET", "/admin/users", bearer=proven))[0] == 200
    await visitor.open("/admin")
    assert visitor.status == 200
    await visitor.open("/account/two-factor/off")
    await visitor.send("/account/two-factor/off", current=PASSWORD)
    assert (await api.call(gate, "GET", "/admin/users", bearer=proven))[0] == 403
    await visitor.open("/admin", follow=False)
    assert visitor.location == "/account/two-factor"


async def test_signing_in_again_and_again_fills_no_table(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_sessions, "MAX_OF_USER", 3)
    gate = await make_gate(rate_limit_login="off")
    await Visitor(gate).register("boris")
    await Visitor(gate).register()
    for _ in range(5):
        last = await Visitor(gate).login()
    assert len(await column(gate, web_sessions, "id")) == 4  # three of hers, one of his
    await last.open("/account", follow=False)
    assert last.status == 200

"""Limits of sign-in attempts: guessing is slow and does not lock other users out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import FormData
from sqlalchemy import func, select

from tests.kit import api
from tests.kit.api import ALICE, BOB
from tests.kit.gates import GateClient, MakeGate, Stores, running_gate
from tests.kit.visitors import PASSWORD, Visitor, enable_two_factor
from zenzefi.accounts.models import one_time_links
from zenzefi.audit.models import audit_logs
from zenzefi.db.engine import DATABASE
from zenzefi.mail.queue import MAIL_QUEUE

HERE, THERE = "198.51.100.7", "203.0.113.9"
TRUST = {"trusted_proxies": "127.0.0.0/8"}
SignIn = Callable[[GateClient, str, dict[str, str]], Awaitable[int]]


async def by_api(gate: GateClient, address: str, who: dict[str, str]) -> int:
    body = {"email": who["email"], "password": who["password"]}
    headers = {"X-Forwarded-For": address}
    status, _ = await api.call(gate, "POST", "/auth/login", json=body, headers=headers)
    return {200: 200, 401: 401, 429: 429}[status]


async def by_page(gate: GateClient, address: str, who: dict[str, str]) -> int:
    visitor = await Visitor(gate).open("/login")
    await visitor.send(
        "/login",
        follow=False,
        headers={"X-Forwarded-For": address},
        email=who["email"],
        password=who["password"],
    )
    return {303: 200, 422: 401, 429: 429}[visitor.status]


@pytest.fixture(params=[by_api, by_page], ids=["api", "page"])
def sign_in(request: pytest.FixtureRequest) -> SignIn:
    return request.param  # type: ignore[no-any-return]


def wrong(who: dict[str, str]) -> dict[str, str]:
    return who | {"password": "a guess of eight"}


async def test_guesses_from_one_address_do_not_lock_the_owner_out_elsewhere(
    make_gate: MakeGate, sign_in: SignIn
) -> None:
    gate = await make_gate(**TRUST)
    await api.sign_up(gate)
    guesses = [await sign_in(gate, HERE, wrong(ALICE)) for _ in range(15)]
    assert guesses == [401] * 10 + [429] * 5
    assert await sign_in(gate, HERE, ALICE) == 429  # the right one is refused too
    assert await sign_in(gate, THERE, ALICE) == 200


SPELLINGS = [
    lambda n: [("email", "Alice@Example.com" if n % 2 else "alice@example.COM")],
    lambda n: [("email", " " * n + "alice@example.com" + " " * n)],
    lambda n: [("email", "alice@example.com" + " " * 250 + str(n))],
    lambda n: [("email", f"other{n}@example.com"), ("email", "alice@example.com")],
]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("kind", ["urlencoded", "multipart", "file"])
async def test_form_encodings_do_not_bypass_the_limit(
    make_gate: MakeGate, spelling: Callable[[int], list[tuple[str, str]]], kind: str
) -> None:
    gate = await make_gate(rate_limit_login="3/hour", rate_limit_login_address="off")
    await api.sign_up(gate)
    for number in range(8):
        visitor = await Visitor(gate).open("/login")
        fields = [("csrf", visitor.csrf), ("password", "a guess of eight"), *spelling(number)]
        form = FormData(default_to_multipart=kind != "urlencoded")
        if kind == "file":
            form.add_field("email", b"x", filename=f"{number}.txt")
        form.add_fields(*fields)
        headers = visitor._headers({"Sec-Fetch-Site": "same-origin"})
        async with gate.post("/login", data=form, headers=headers) as response:
            assert response.status in (422, 429)
    assert await _failed_sign_ins(gate) <= 3


@pytest.mark.parametrize("label", ["application/json", "text/plain", "multipart/form-data", None])
@pytest.mark.parametrize(
    "email", ["alice@example.com", " ALICE@example.com\t", "\\u0061lice@example.com"]
)
async def test_content_types_do_not_bypass_the_limit(
    make_gate: MakeGate, label: str | None, email: str
) -> None:
    gate = await make_gate(rate_limit_login="3/hour", rate_limit_login_address="off")
    await api.sign_up(gate)
    text = email.replace("\t", "\\t")
    body = f'{{"email": "{text}", "password": "a guess of eight"}}'.encode()
    for _ in range(8):
        options: dict[str, Any] = {"skip_auto_headers": ["Content-Type"]}
        if label is not None:
            options = {"headers": {"Content-Type": label}}
        async with gate.post("/api/v1/auth/login", data=body, **options) as response:
            assert response.status in (400, 401, 415, 422, 429)
    assert await _failed_sign_ins(gate) <= 3


async def _failed_sign_ins(gate: GateClient) -> int:
    """Number of wrong passwords that were checked for an existing account."""
    failed = select(func.count()).where(
        audit_logs.c.action == "user.sign_in_failed", audit_logs.c.resource_id.is_not(None)
    )
    async with gate.app[DATABASE].read() as connection:
        return int((await connection.execute(failed)).scalar_one())


async def test_rejected_attempts_do_not_count_in_the_wide_limits(
    make_gate: MakeGate, sign_in: SignIn
) -> None:
    gate = await make_gate(rate_limit_login="2/hour", **TRUST)  # 20 an hour for the account
    await api.sign_up(gate)
    for _ in range(40):
        await sign_in(gate, HERE, wrong(ALICE))
    assert await sign_in(gate, THERE, ALICE) == 200


@pytest.mark.parametrize("network", ["198.51.100.{}", "2001:db8:1:{:x}::1"])
async def test_a_network_of_addresses_blocks_only_itself(
    make_gate: MakeGate, sign_in: SignIn, network: str
) -> None:
    gate = await make_gate(rate_limit_login="2/hour", **TRUST)  # 20 an hour for the account
    await api.sign_up(gate)
    places = [network.format(number) for number in range(1, 31)]
    statuses = [await sign_in(gate, place, wrong(ALICE)) for place in places]
    assert statuses == [401] * 6 + [429] * 24
    assert await sign_in(gate, THERE, ALICE) == 200


async def test_guesses_at_one_account_do_not_block_users_behind_the_same_address(
    make_gate: MakeGate, sign_in: SignIn
) -> None:
    gate = await make_gate(rate_limit_login="2/hour", **TRUST)
    await api.sign_up(gate)
    await api.sign_up(gate, BOB)
    for _ in range(40):
        await sign_in(gate, HERE, wrong(ALICE))
    assert await sign_in(gate, HERE, BOB) == 200


async def test_one_address_that_tries_many_accounts_is_limited(
    make_gate: MakeGate, sign_in: SignIn
) -> None:
    gate = await make_gate(rate_limit_login_address="5/hour", **TRUST)
    credentials = [wrong(ALICE) | {"email": f"user{number}@example.com"} for number in range(8)]
    assert [await sign_in(gate, HERE, who) for who in credentials] == [401] * 5 + [429] * 3
    assert await sign_in(gate, THERE, credentials[0]) == 401


async def test_many_addresses_that_try_one_account_are_limited(
    make_gate: MakeGate, sign_in: SignIn
) -> None:
    gate = await make_gate(rate_limit_login_account="5/hour", **TRUST)
    places = [f"198.51.100.{number}" for number in range(8)]
    assert [await sign_in(gate, one, wrong(ALICE)) for one in places] == [401] * 5 + [429] * 3
    assert await sign_in(gate, places[0], wrong(BOB)) == 401


async def test_successful_sign_ins_do_not_count_for_the_address(
    make_gate: MakeGate, sign_in: SignIn
) -> None:
    gate = await make_gate(
        rate_limit_login="20/hour",
        rate_limit_login_address="3/hour",
        rate_limit_login_account="3/hour",
        **TRUST,
    )
    await api.sign_up(gate)
    await api.sign_up(gate, BOB)
    for who in (ALICE, BOB, ALICE, BOB, ALICE, BOB):
        assert await sign_in(gate, HERE, who) == 200


async def test_requests_for_e_mails_and_confirmations_do_not_block_sign_ins(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(mail_url="log:", debug=True, **TRUST)
    owner = await Visitor(gate).register()
    for _ in range(12):
        stranger = await Visitor(gate).open("/login/forgotten")
        await stranger.send(
            "/login/forgotten", headers={"X-Forwarded-For": HERE}, email="marta@example.com"
        )
    assert stranger.status == 429
    for _ in range(12):
        await owner.open("/account/profile")
        await owner.send("/account/profile/password", current="a guess", password="another long")
    who = {"email": "marta@example.com", "password": PASSWORD}
    for place in (HERE, "127.0.0.1"):
        assert await by_page(gate, place, who) == 200


async def test_wrong_links_do_not_block_valid_links(make_gate: MakeGate) -> None:
    """A link's secret can't be guessed, so wrong links need no limit per address."""
    gate = await make_gate(mail_url="log:", debug=True, rate_limit_login="1/hour")
    for path in ("/login/reset", "/register/confirm"):
        for _ in range(15):
            visitor = await Visitor(gate).open(path)
            await visitor.send(path, link="A" * 43, password="a new long one")
            assert "has expired or was already used" in visitor.text


async def test_concurrent_requests_for_links_are_limited(make_gate: MakeGate) -> None:
    gate = await make_gate(mail_url="log:", debug=True, rate_limit_login="off")
    await Visitor(gate).register()
    strangers = [await Visitor(gate).open("/login/forgotten") for _ in range(12)]
    await asyncio.gather(
        *(one.send("/login/forgotten", email="marta@example.com") for one in strangers)
    )
    await gate.app[MAIL_QUEUE].join()
    sent = select(func.count()).where(one_time_links.c.purpose == "password_reset")
    async with gate.app[DATABASE].read() as connection:
        assert (await connection.execute(sent)).scalar_one() == 5


# --- codes of the second step


async def _judged(gate: GateClient) -> int:
    """Number of wrong codes that were checked: each adds a row to the audit log."""
    failed = select(func.count()).where(audit_logs.c.action == "user.second_factor_failed")
    async with gate.app[DATABASE].read() as connection:
        return int((await connection.execute(failed)).scalar_one())


async def _code(gate: GateClient, code: str, address: str = HERE) -> int:
    body = {"email": "marta@example.com", "password": PASSWORD, "code": code}
    headers = {"X-Forwarded-For": address}
    return (await api.call(gate, "POST", "/auth/login", json=body, headers=headers))[0]


async def test_concurrent_codes_do_not_exceed_the_limit(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(rate_limit_login="off", **TRUST)
    _, codes = await enable_two_factor(await Visitor(gate).register())
    statuses = await asyncio.gather(*(_code(gate, f"{n:06}") for n in range(60)))
    assert sorted(statuses) == [401] * 10 + [429] * 50
    assert await _judged(gate) == 10
    assert await _code(gate, codes[0]) == 429
    assert await _code(gate, codes[0], THERE) == 200  # the owner elsewhere is not kept out


async def test_concurrent_codes_on_two_nodes_do_not_exceed_the_limit(cluster: Stores) -> None:
    async with AsyncExitStack() as stack:
        extra: dict[str, Any] = {"rate_limit_login": "off", **TRUST}
        nodes = [
            await stack.enter_async_context(running_gate(**(cluster.settings | extra)))
            for _ in range(2)
        ]
        await enable_two_factor(await Visitor(nodes[0]).register())
        statuses = await asyncio.gather(
            *(_code(node, f"{n:06}") for n in range(25) for node in nodes)
        )
        assert sorted(statuses) == [401] * 10 + [429] * 40
        assert await _judged(nodes[0]) == 10


async def test_codes_from_many_addresses_are_limited_per_account(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(rate_limit_login="off", **TRUST)
    await enable_two_factor(await Visitor(gate).register())
    places = [f"198.51.{number}.7" for number in range(40)]
    statuses = [await _code(gate, "000000", place) for place in places]
    assert statuses == [401] * 30 + [429] * 10


async def test_valid_codes_are_not_counted(make_gate: MakeGate) -> None:
    gate = await make_gate(rate_limit_login="off", rate_limit_code="2/hour", **TRUST)
    _, codes = await enable_two_factor(await Visitor(gate).register())
    assert [await _code(gate, code) for code in codes] == [200] * 10


async def test_pages_and_api_share_the_count_of_codes(make_gate: MakeGate) -> None:
    gate = await make_gate(rate_limit_login="off", rate_limit_code="3/hour")
    await enable_two_factor(await Visitor(gate).register())
    for _ in range(3):
        assert await _code(gate, "000000") == 401
    visitor = await Visitor(gate).login()
    await visitor.send("/login/code", code="000000")
    assert "Too many wrong codes." in visitor.text


# --- changing the password by the API


async def test_a_bearer_token_alone_cannot_change_the_password(make_gate: MakeGate) -> None:
    gate = await make_gate()
    bearer = await api.sign_up(gate)

    async def change(**body: Any) -> tuple[int, Any]:
        return await api.call(gate, "PATCH", "/users/me", bearer=bearer, json=body)

    status, response = await change(password="mine from now on")
    assert (status, response["detail"][0]["loc"]) == (422, ["body", "current_password"])
    for guess in ("a guess of eight", "", "new password"):
        status, response = await change(password="mine from now on", current_password=guess)
        assert (status, response["code"]) == (403, "password_rejected")
    assert await by_api(gate, HERE, ALICE) == 200
    assert (await change(full_name="Alice"))[0] == 200
    assert (await change(full_name="A", current_password="not asked for"))[0] == 200
    new = "a new long password"
    status, _ = await change(password=new, current_password=ALICE["password"])
    assert status == 200
    assert await by_api(gate, HERE, ALICE) == 401
    assert await by_api(gate, HERE, ALICE | {"password": new}) == 200


async def test_guesses_at_the_current_password_are_counted(make_gate: MakeGate) -> None:
    gate = await make_gate(rate_limit_login="3/hour")
    bearer = await api.sign_up(gate)
    body = {"password": "mine from now on", "current_password": "a guess of eight"}
    statuses = await asyncio.gather(
        *(api.call(gate, "PATCH", "/users/me", bearer=bearer, json=body) for _ in range(8))
    )
    assert sorted(status for status, _ in statuses) == [403] * 3 + [429] * 5
    body["current_password"] = ALICE["password"]
    status, _ = await api.call(gate, "PATCH", "/users/me", bearer=bearer, json=body)
    assert status == 429
    assert await by_api(gate, "127.0.0.1", ALICE) == 200  # signing in is counted apart


async def test_a_password_change_requires_a_code_with_two_factor(
    make_gate: MakeGate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="zenzefi.mail")
    gate = await make_gate(mail_url="log:", debug=True)
    visitor = await Visitor(gate).register()
    _, codes = await enable_two_factor(visitor)
    login = {"email": "marta@example.com", "password": PASSWORD, "code": codes[0]}
    bearer = (await api.call(gate, "POST", "/auth/login", json=login))[1]["access_token"]
    other = await api.call(gate, "POST", "/auth/login", json=login | {"code": codes[1]})
    body = {"password": "a new long password", "current_password": PASSWORD}
    for code in ({}, {"code": "000000"}, {"code": codes[0]}):
        status, response = await api.call(
            gate, "PATCH", "/users/me", bearer=bearer, json=body | code
        )
        assert (status, response["code"]) == (403, "code_rejected")
    await visitor.open("/account/profile")
    await visitor.send("/account/profile/password", current=PASSWORD, password="a new long one")
    assert visitor.status == 422
    assert "This code is incorrect" in visitor.text
    await gate.app[MAIL_QUEUE].join()
    assert "Your password at" not in caplog.text
    status, _ = await api.call(
        gate,
        *("PATCH", "/users/me"),
        bearer=bearer,
        json=body | {"code": codes[2]},
        headers={"Accept-Language": "ru"},
    )
    assert status == 200
    await gate.app[MAIL_QUEUE].join()
    assert "subject=Пароль на" in caplog.text
    theirs = other[1]["access_token"]
    assert (await api.call(gate, "GET", "/users/me", bearer=theirs))[0] == 401
    await visitor.open("/account", follow=False)
    assert visitor.location.startswith("/login")


async def test_a_page_changes_the_password_with_a_code(make_gate: MakeGate) -> None:
    gate = await make_gate()
    visitor = await Visitor(gate).register()
    _, codes = await enable_two_factor(visitor)
    await visitor.open("/account/profile")
    await visitor.send(
        "/account/profile/password", current=PASSWORD, code=codes[0], password="a new long one"
    )
    assert "The password is changed." in visitor.text

"""Signing out at an identity provider ends what was opened with it, and the way there."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp.test_utils import TestClient
from joserfc import jwt
from sqlalchemy import select

from tests.kit.certified_provider import running_certified_provider
from tests.kit.gates import SECRET_KEY, GateClient, GateServer, running_gate
from tests.kit.identity_provider import CLIENT_ID, CLIENT_SECRET, Provider, running_provider
from tests.kit.ports import free_port
from tests.kit.visitors import Visitor, enable_two_factor
from tests.kit.waiting import until
from zenzefi.accounts.models import users
from zenzefi.app import create_app
from zenzefi.audit.models import audit_logs
from zenzefi.db.engine import DATABASE
from zenzefi.oidc.logout import EVENT, check_logout_token
from zenzefi.oidc.signed_tokens import InvalidToken
from zenzefi.settings import load_settings
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.validation import TOKEN_VALIDATOR

SID = "session-at-the-provider"
NOW = 1_800_000_000
GOOD = {
    "iss": "https://id.example",
    "aud": "gate",
    "iat": NOW,
    "exp": NOW + 120,
    "jti": "one",
    "events": {EVENT: {}},
    "sub": "7",
    "sid": SID,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://another.example"},
        {"iss": None},
        {"aud": "another-client"},
        {"aud": ["gate", "another-client"]},
        {"nonce": "an ID token has one"},
        {"events": None},
        {"events": {}},
        {"events": {EVENT: True}},
        {"events": [EVENT]},
        {"iat": None},
        {"iat": "now"},
        {"iat": True},
        {"iat": NOW + 100},
        {"exp": NOW - 100},
        {"exp": None, "iat": NOW - 1000},
        {"sub": None, "sid": None},
        {"sub": 7},
        {"sid": ""},
        {"sid": "x" * 256},
    ],
    ids=str,
)
def test_a_logout_token_with_a_wrong_claim_is_rejected(changes: dict[str, Any]) -> None:
    def check(claims: dict[str, Any]) -> None:
        check_logout_token(claims, issuer="https://id.example", client_id="gate", now=NOW)

    check(GOOD)
    wrong = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    with pytest.raises(InvalidToken):
        check(wrong)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with running_provider() as running:
        running.claims = {"sid": SID}
        running.document = {"end_session_endpoint": f"{running.issuer}/end"}
        yield running


@pytest.fixture
async def gate(
    provider: Provider, sqlite_database: str, tmp_path: Path
) -> AsyncIterator[GateClient]:
    options = {**provider.options, "end_connections": True}
    async with running_gate(
        secret_key=SECRET_KEY, data_dir=tmp_path / "gate", oidc_providers={"company": options}
    ) as running:
        yield running


async def signed_in(gate: GateClient, provider: Provider) -> Visitor:
    visitor = Visitor(gate)
    await visitor.open("/login/with/company", follow=False)
    return await visitor.open(provider.authorize(visitor.location))


def logout_token(provider: Provider, **changes: Any) -> str:
    now = int(time.time())
    claims = {**GOOD, "iss": provider.issuer, "iat": now, "exp": now + 120, **changes}
    claims["sub"] = changes.get("sub", provider.person.subject)
    claims = {name: value for name, value in claims.items() if value is not None}
    header = {"alg": "RS256", "kid": provider.key.kid, "typ": "logout+jwt"}
    return jwt.encode(header, claims, provider.key)


async def send(gate: GateClient, token: str) -> int:
    response = await gate.post("/login/with/company/logout", data={"logout_token": token})
    return response.status


async def is_signed_in(visitor: Visitor) -> bool:
    await visitor.open("/account/profile", follow=False)
    return visitor.status == 200


async def test_a_logout_token_ends_the_sessions_that_it_names(
    gate: GateClient, provider: Provider
) -> None:
    marta = await signed_in(gate, provider)
    provider.claims = {"sid": "another-session"}
    other = await signed_in(gate, provider)
    # Of another session, of another person, of another provider's key.
    assert await send(gate, logout_token(provider, sid="unknown")) == 200
    assert await send(gate, logout_token(provider, sub="another", sid=SID)) == 200
    forged = logout_token(provider)[:-8] + "AAAAAAAA"
    for token in (forged, provider.id_token({"nonce": "x"}), "", "a.b.c"):
        assert await send(gate, token) == 400
    assert await is_signed_in(marta)
    assert await is_signed_in(other)
    assert await send(gate, logout_token(provider)) == 200
    assert not await is_signed_in(marta)
    assert await is_signed_in(other)
    # Without a session: everywhere.
    assert await send(gate, logout_token(provider, sid=None)) == 200
    assert not await is_signed_in(other)
    async with gate.app[DATABASE].read() as connection:
        query = select(audit_logs.c.details).where(
            audit_logs.c.action == "user.signed_out_by_provider"
        )
        rows = (await connection.execute(query)).scalars().all()
    assert [json.loads(row) for row in rows] == [{"provider": "company"}] * 2


async def test_a_logout_token_that_is_sent_again_ends_no_later_session(
    gate: GateClient, provider: Provider
) -> None:
    marta = await signed_in(gate, provider)
    old = logout_token(provider, iat=int(time.time()) - 100)
    assert await send(gate, old) == 200
    assert await is_signed_in(marta)


async def test_open_connections_end_where_the_operator_says_so(
    gate: GateClient, provider: Provider
) -> None:
    await signed_in(gate, provider)
    async with gate.app[DATABASE].read() as connection:
        user_id = (await connection.execute(select(users.c.id))).scalar_one()
    closed: list[str] = []
    for owner in (user_id, uuid4()):
        access = TokenAccess(uuid4(), owner, "full", 1)
        gate.app[TOKEN_VALIDATOR].open_connections.add(access, closed.append)
    await send(gate, logout_token(provider, sid="unknown"))
    assert closed == []
    await send(gate, logout_token(provider))
    await until(lambda: closed == ["This browser was logged out."])


async def test_a_session_that_the_provider_did_not_name_ends_with_any_of_the_person(
    gate: GateClient, provider: Provider
) -> None:
    provider.claims = {}  # the ID token names no session, but the logout token does
    marta = await signed_in(gate, provider)
    assert await send(gate, logout_token(provider, sub=None)) == 200
    assert await send(gate, logout_token(provider, sub="another")) == 200
    assert await is_signed_in(marta)
    assert await send(gate, logout_token(provider)) == 200
    assert not await is_signed_in(marta)


async def test_the_code_of_two_step_sign_in_keeps_the_session_of_the_provider(
    gate: GateClient, provider: Provider
) -> None:
    app, _ = await enable_two_factor(await signed_in(gate, provider))
    marta = await signed_in(gate, provider)
    await marta.send("/login/code", code=app.at(int(time.time()) + 30))
    assert await is_signed_in(marta)
    await send(gate, logout_token(provider))
    assert not await is_signed_in(marta)


async def test_signing_out_leads_to_the_provider_too(gate: GateClient, provider: Provider) -> None:
    marta = await signed_in(gate, provider)
    await marta.open("/account/profile")
    await marta.send("/logout")
    link = marta.soup.find("a", string="Sign out of Company")["href"]
    assert link.startswith(f"{provider.issuer}/end?client_id={CLIENT_ID}&post_logout_redirect_uri=")
    assert "&id_token_hint=ey" in link
    assert not await is_signed_in(marta)


async def test_a_certified_provider_signs_in_and_out(sqlite_database: str, tmp_path: Path) -> None:
    port = free_port()
    root = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(running_certified_provider(root))
        options = {
            "issuer": provider.issuer,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "title": "Company",
        }
        app = create_app(
            load_settings(
                {
                    "secret_key": SECRET_KEY,
                    "data_dir": tmp_path / "gate",
                    "backend_url": root,
                    "zenzefi_target_url": "http://127.0.0.1:9",
                    "oidc_providers": {"company": options},
                }
            )
        )
        gate = await stack.enter_async_context(TestClient(GateServer(app, port=port)))
        visitors = [Visitor(gate), Visitor(gate)]
        for visitor in visitors:
            await visitor.open("/login/with/company", follow=False)
            back = await provider.sign_in(visitor.location)
            await visitor.open(back.removeprefix(root))
            assert "Sign out" in visitor.html
        first, second = visitors
        await first.open("/account/profile")
        assert "marta@example.com" in first.text
        await first.send("/logout")
        link = first.soup.find("a", string="Sign out of Company")["href"]
        back = await provider.sign_out(link)
        # The provider has told the gate before it leads back.
        assert back.startswith(f"{root}/login")
        assert not await is_signed_in(second)

"""Accounts over HTTP: each test on both kinds of stores."""

from __future__ import annotations

import io
import json
from typing import Any

import bcrypt
import jwt
import pytest
from sqlalchemy import select, update

from tests.kit.api import ALICE, call, sign_up
from tests.kit.gates import SECRET_KEY, GateClient, MakeGate
from zenzefi.accounts import passwords
from zenzefi.accounts.models import users
from zenzefi.db.engine import DATABASE
from zenzefi.keys import KEYRING


def _credentials(password: str) -> dict[str, str]:
    return {"email": ALICE["email"], "password": password}


async def test_closed_registration_refuses_the_api_too(make_gate: MakeGate) -> None:
    gate = await make_gate(registration="closed")
    status, refusal = await call(gate, "POST", "/auth/register", json=ALICE)
    assert (status, refusal["code"]) == (403, "registration_closed")


async def test_a_newcomer_registers_signs_in_and_sees_themselves(gate: GateClient) -> None:
    status, user = await call(gate, "POST", "/auth/register", json=ALICE | {"full_name": "Alice A"})
    assert status == 201
    assert set(user) == {
        *("id", "email", "username", "full_name", "is_active", "is_superuser"),
        *("currency_balance", "created_at", "updated_at"),
    }
    assert user["email"] == "alice@example.com"
    assert (user["username"], user["full_name"]) == ("alice", "Alice A")
    assert (user["is_active"], user["is_superuser"]) == (True, False)
    assert user["currency_balance"] == "0.00"
    assert user["created_at"].endswith("+00:00")

    status, response = await call(gate, "POST", "/auth/login", json=_credentials(ALICE["password"]))
    assert status == 200
    assert (response["token_type"], response["expires_in"]) == ("bearer", 3600)
    claims = jwt.decode(response["access_token"], options={"verify_signature": False})
    assert (claims["sub"], claims["username"]) == (user["id"], "alice")
    assert claims["exp"] - claims["iat"] == 3600

    assert await call(gate, "GET", "/users/me", bearer=response["access_token"]) == (200, user)


@pytest.mark.parametrize(
    ("again", "detail"),
    [
        ({"username": "other"}, "Email already registered"),
        ({"username": "other", "email": "ALICE@EXAMPLE.com"}, "Email already registered"),
        ({"email": "other@example.com"}, "Username already taken"),
        ({"email": "other@example.com", "username": "ALICE"}, "Username already taken"),
    ],
)
async def test_an_address_and_a_name_belong_to_one_account(
    gate: GateClient, again: dict[str, str], detail: str
) -> None:
    await sign_up(gate)
    status, response = await call(gate, "POST", "/auth/register", json=ALICE | again)
    assert (status, response["detail"]) == (400, detail)
    assert response["request_id"]


BAD_REGISTRATIONS: list[tuple[dict[str, Any], str]] = [
    ({"email": "no address"}, "email"),
    ({"email": "a@b"}, "email"),
    ({"email": None}, "email"),
    ({"email": "nul\0@example.com"}, "email"),
    ({"username": "ab"}, "username"),
    ({"username": "x" * 51}, "username"),
    ({"username": " ab "}, "username"),
    ({"username": "new\nline"}, "username"),
    ({"username": "\ud800abc"}, "username"),
    ({"username": "\ufdfa" * 50}, "username"),
    ({"password": "short"}, "password"),
    ({"password": "x" * 2000}, "password"),
    ({"password": 12345678}, "password"),
    ({"full_name": "nul\0"}, "full_name"),
    ({"is_superuser": True}, "is_superuser"),
]


async def test_a_bad_registration_says_which_field(gate: GateClient) -> None:
    for change, where in BAD_REGISTRATIONS:
        status, response = await call(gate, "POST", "/auth/register", json=ALICE | change)
        assert status == 422, change
        assert [problem["loc"] for problem in response["detail"]] == [["body", where]]
        assert set(response["detail"][0]) == {"type", "loc", "msg", "input"}
        assert "correct horse" not in str(response)


async def test_a_missing_field_is_named_and_the_password_is_not_sent_back(gate: GateClient) -> None:
    status, response = await call(gate, "POST", "/auth/register", json={"password": "my secret pw"})
    assert status == 422
    assert {problem["loc"][1] for problem in response["detail"]} == {"email", "username"}
    assert "my secret pw" not in str(response)


NO_JSON_OBJECTS = [
    b"{",
    b"",
    b"null",
    b"[]",
    b'"text"',
    b"\xff\xfe{}",
    b'{"email": NaN}',
    b"[" * 100_000,
    b'{"email": "a@example.com", "email": "b@example.com"}',
    b"1" * 10_000,
]


async def test_what_is_no_json_object_is_a_validation_error(gate: GateClient) -> None:
    headers = {"Content-Type": "application/json"}
    for raw in NO_JSON_OBJECTS:
        status, response = await call(gate, "POST", "/auth/login", data=raw, headers=headers)
        assert status == 422, raw[:50]
        assert response["detail"][0]["loc"][0] == "body"
        assert response["code"] == "validation_error"


async def test_a_body_beyond_the_limit_is_refused(gate: GateClient) -> None:
    body = io.BytesIO(json.dumps(ALICE | {"full_name": "x" * 2_000_000}).encode())
    headers = {"Content-Type": "application/json"}
    status, _ = await call(gate, "POST", "/auth/register", data=body, headers=headers)
    assert status == 413


async def test_unknown_wrong_and_deactivated_look_alike(gate: GateClient) -> None:
    await sign_up(gate)
    unknown = {"email": "nobody@example.com", "password": ALICE["password"]}
    wrong = _credentials("wrong horse")
    responses = [await call(gate, "POST", "/auth/login", json=body) for body in (unknown, wrong)]
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(update(users).values(is_active=False))
    right = _credentials(ALICE["password"])
    responses.append(await call(gate, "POST", "/auth/login", json=right))
    assert [status for status, _ in responses] == [401] * 3
    assert {response["detail"] for _, response in responses} == {"Incorrect email or password"}


async def test_an_unknown_address_costs_the_same_hashing(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    verify = passwords._context.verify

    def watched(secret: Any, hashed: str) -> bool:
        seen.append(hashed[:10])
        return bool(verify(secret, hashed))

    monkeypatch.setattr(passwords._context, "verify", watched)
    body = {"email": "nobody@example.com", "password": "whatever it is"}
    assert (await call(gate, "POST", "/auth/login", json=body))[0] == 401
    assert seen == ["$argon2id$"]


@pytest.mark.parametrize(
    ("authorization", "status", "detail"),
    [
        (None, 403, "Not authenticated"),
        ("Basic YTpi", 403, "Not authenticated"),
        ("Bearer", 403, "Not authenticated"),
        ("Bearer x.y.z", 401, "Could not validate credentials"),
        ("Bearer ü", 401, "Could not validate credentials"),
    ],
)
async def test_a_call_without_a_good_bearer_token_is_refused(
    gate: GateClient, authorization: str | None, status: int, detail: str
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with gate.get("/api/v1/users/me", headers=headers) as response:
        assert response.status == status
        assert (await response.json())["detail"] == detail
        if status == 401:
            assert response.headers["WWW-Authenticate"] == "Bearer"


WRONG_CLAIMS: list[dict[str, Any]] = [
    {"exp": 1},
    {"exp": None},
    {"sub": None},
    {"sub": "no uuid"},
    {"sub": "00000000-0000-0000-0000-000000000000"},
    {"sub": 5},
    {"iat": 99999999999},
    {"iat": "soon"},
    {"cv": 1, "jti": "another"},
]


async def test_a_well_signed_but_wrong_bearer_token_is_refused(gate: GateClient) -> None:
    good = await sign_up(gate)
    key = gate.app[KEYRING].keys("jwt")[0]
    for change in WRONG_CLAIMS:
        claims = jwt.decode(good, options={"verify_signature": False}) | change
        claims = {name: value for name, value in claims.items() if value is not None}
        forged = jwt.api_jws.encode(json.dumps(claims).encode(), key, algorithm="HS256")
        assert (await call(gate, "GET", "/users/me", bearer=forged))[0] == 401, change


async def test_a_bearer_token_without_a_signature_or_by_another_key_is_refused(
    gate: GateClient,
) -> None:
    good = await sign_up(gate)
    claims = jwt.decode(good, options={"verify_signature": False})
    for forged in (
        jwt.encode(claims, "", algorithm="none"),
        jwt.encode(claims, "another key that is long enough....", algorithm="HS256"),
        good[:-6] + "AAAAAA",
    ):
        assert (await call(gate, "GET", "/users/me", bearer=forged))[0] == 401


async def test_a_deactivated_user_gets_an_error_that_says_so(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(update(users).values(is_active=False))
    status, response = await call(gate, "GET", "/users/me", bearer=bearer)
    assert (status, response["detail"]) == (403, "Inactive user")


async def test_a_new_name_is_kept_and_nothing_else_changes(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    _, before = await call(gate, "PATCH", "/users/me", bearer=bearer, json={})
    status, user = await call(gate, "PATCH", "/users/me", bearer=bearer, json={"full_name": "A"})
    assert (status, user["full_name"]) == (200, "A")
    assert user["updated_at"] > before["updated_at"]
    same = {"full_name": None, "updated_at": None}
    assert user | same == before | same
    _, cleared = await call(gate, "PATCH", "/users/me", bearer=bearer, json={"full_name": None})
    assert cleared["full_name"] is None
    for body in ({"is_superuser": True}, {"password": None}, {"email": "x@example.com"}):
        assert (await call(gate, "PATCH", "/users/me", bearer=bearer, json=body))[0] == 422


async def test_a_new_password_ends_the_other_sign_ins(gate: GateClient) -> None:
    mine = await sign_up(gate)
    other = (await call(gate, "POST", "/auth/login", json=_credentials(ALICE["password"])))[1]
    body = {"password": "new password", "current_password": ALICE["password"]}
    assert (await call(gate, "PATCH", "/users/me", bearer=mine, json=body))[0] == 200
    assert (await call(gate, "GET", "/users/me", bearer=mine))[0] == 200
    assert (await call(gate, "GET", "/users/me", bearer=other["access_token"]))[0] == 401
    assert (await call(gate, "POST", "/auth/login", json=_credentials(ALICE["password"])))[0] == 401
    assert (await call(gate, "POST", "/auth/login", json=_credentials("new password")))[0] == 200


@pytest.mark.parametrize("password", ["an old password", "x" * 100])
async def test_a_bcrypt_hash_verifies_and_becomes_argon2id(gate: GateClient, password: str) -> None:
    await sign_up(gate)
    old = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(update(users).values(password_hash=old))
    assert (await call(gate, "POST", "/auth/login", json=_credentials("an\0other")))[0] == 401
    assert (await call(gate, "POST", "/auth/login", json=_credentials(password)))[0] == 200
    async with gate.app[DATABASE].read() as connection:
        kept = (await connection.execute(select(users.c.password_hash))).scalar_one()
    assert kept.startswith("$argon2id$")
    assert (await call(gate, "POST", "/auth/login", json=_credentials(password)))[0] == 200


async def test_a_bearer_token_stays_valid_after_a_change_of_keys(make_gate: MakeGate) -> None:
    first = await make_gate()
    bearer = await sign_up(first)
    new = {"secret_key": "hG3v-Qz81_mWb0xTn4rLk9sDc2uYp7fJe6", "previous_secret_keys": [SECRET_KEY]}
    second = await make_gate(**new)
    assert (await call(second, "GET", "/users/me", bearer=bearer))[0] == 200
    third = await make_gate(secret_key=new["secret_key"])
    assert (await call(third, "GET", "/users/me", bearer=bearer))[0] == 401

"""API keys: what they may do, never more than their owner, and how they end."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pyotp
import pytest
from sqlalchemy import select, update

from tests.kit.api import ALICE, BOB, ROOT, buy, call, give, sign_up, sign_up_admin, user_id_of
from tests.kit.gates import GateClient, MakeGate
from zenzefi.accounts.models import api_keys, users
from zenzefi.api.permissions import KeyPermission, default_permission
from zenzefi.api.routing import OPERATIONS
from zenzefi.audit.models import audit_logs
from zenzefi.db.engine import DATABASE
from zenzefi.keys import KEYRING

ALL = [one.value for one in KeyPermission if not one.is_administrative]
ADMINISTRATIVE = [one.value for one in KeyPermission if one.is_administrative]


async def make_key(
    gate: GateClient,
    bearer: str,
    *permissions: str,
    who: dict[str, str] = ALICE,
    **fields: Any,
) -> tuple[str, str]:
    """A new key: its value and its ID."""
    body = {
        "name": "backup",
        "permissions": permissions or ALL,
        "current_password": who["password"],
        **fields,
    }
    status, made = await call(gate, "POST", "/users/me/api-keys", bearer=bearer, json=body)
    assert status == 201, made
    return made["key"], made["api_key"]["id"]


async def refusal(gate: GateClient, method: str, path: str, key: str, **options: Any) -> Any:
    """The status and the code of a call that fails."""
    status, response = await call(gate, method, path, bearer=key, **options)
    return status, response["code"]


async def audit_rows(gate: GateClient, action: str) -> list[dict[str, Any]]:
    """The details of the rows of one action, oldest first."""
    found = select(audit_logs.c.details).where(audit_logs.c.action == action)
    async with gate.app[DATABASE].read() as connection:
        rows = (await connection.execute(found.order_by(audit_logs.c.created_at))).scalars()
        return [json.loads(row) for row in rows]


async def test_a_key_does_what_its_permissions_say_and_is_shown_once(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    await give(gate, "100")
    key, key_id = await make_key(gate, bearer, "buy", "tokens:read")
    assert key.startswith("znk_")

    token = await buy(gate, key)
    status, listed = await call(gate, "GET", "/tokens/my-tokens", bearer=key)
    assert (status, [one["id"] for one in listed]) == (200, [token["id"]])
    for method, path in (
        ("GET", "/users/me"),
        ("GET", "/currency/balance"),
        ("DELETE", f"/tokens/{token['id']}"),
        ("GET", "/admin/users"),
    ):
        assert await refusal(gate, method, path, key) == (403, "api_key_forbidden"), path

    status, keys = await call(gate, "GET", "/users/me/api-keys", bearer=bearer)
    (mine,) = keys["items"]
    assert mine["permissions"] == ["buy", "tokens:read"]
    assert (mine["hint"], mine["last_address"]) == (key[:8], "127.0.0.1")
    assert mine["last_used_at"] is not None
    assert key not in json.dumps(keys)
    async with gate.app[DATABASE].read() as connection:
        row = (await connection.execute(select(api_keys))).one()
    assert key[8:] not in str(row)
    assert row.secret_hash == hashlib.sha256(key.encode()).digest()
    assert (await audit_rows(gate, "token.purchased"))[0]["api_key"] == key_id
    assert (await audit_rows(gate, "api_key.created"))[0]["name"] == "backup"


async def test_no_key_touches_password_second_step_keys_or_personal_data(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    key, key_id = await make_key(gate, bearer)
    new_password = {"password": "another one", "current_password": ALICE["password"]}
    another = {
        "name": "x",
        "permissions": ["buy"],
        "current_password": ALICE["password"],
    }
    for method, path, body in (
        ("PATCH", "/users/me", new_password),
        ("GET", "/users/me/api-keys", None),
        ("POST", "/users/me/api-keys", another),
        ("DELETE", f"/users/me/api-keys/{key_id}", None),
        ("GET", "/users/me/data", None),
        ("POST", "/users/me/delete", {"current_password": ALICE["password"]}),
    ):
        found = await refusal(gate, method, path, key, json=body)
        assert found == (403, "api_key_forbidden"), path
    status, changed = await call(gate, "PATCH", "/users/me", bearer=key, json={"full_name": "A"})
    assert (status, changed["full_name"]) == (200, "A")


async def test_a_key_ends_on_every_node_and_with_everything_that_ends_its_owner(
    make_gate: MakeGate,
) -> None:
    one, other = await make_gate(), await make_gate()
    bearer, admin = await sign_up(one), await sign_up_admin(one)
    user_id = await user_id_of(one)
    ended = (401, "invalid_credentials")

    key, key_id = await make_key(one, bearer)
    assert (await call(other, "GET", "/users/me", bearer=key))[0] == 200
    strange = await call(one, "DELETE", f"/users/me/api-keys/{key_id}", bearer=admin)
    assert strange[0] == 404, "another user's key"
    assert (await call(one, "DELETE", f"/users/me/api-keys/{key_id}", bearer=bearer))[0] == 200
    assert await refusal(other, "GET", "/users/me", key) == ended

    key, key_id = await make_key(one, bearer)
    found = await call(one, "GET", f"/admin/api-keys?user_id={user_id}", bearer=admin)
    assert found[1]["items"][0]["id"] == key_id
    assert (await call(one, "DELETE", f"/admin/api-keys/{key_id}", bearer=admin))[0] == 200
    assert await refusal(other, "GET", "/users/me", key) == ended

    key, key_id = await make_key(one, bearer)
    async with one.app[DATABASE].begin() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await connection.execute(update(api_keys).values(expires_at=past))
    assert await refusal(other, "GET", "/users/me", key) == ended

    key, key_id = await make_key(one, bearer)
    change = {"password": "another horse", "current_password": ALICE["password"]}
    assert (await call(one, "PATCH", "/users/me", bearer=bearer, json=change))[0] == 200
    assert await refusal(other, "GET", "/users/me", key) == ended

    key, _ = await make_key(one, bearer, current_password="another horse")
    off = {"is_active": False}
    assert (await call(one, "PATCH", f"/admin/users/{user_id}", bearer=admin, json=off))[0] == 200
    assert await refusal(other, "GET", "/users/me", key) == (403, "inactive_user")


async def test_a_key_of_an_administrator_has_only_what_it_was_given(gate: GateClient) -> None:
    admin, alice = await sign_up_admin(gate), await sign_up(gate)
    body = {
        "name": "x",
        "permissions": ["admin:read"],
        "current_password": ALICE["password"],
    }
    status, refused = await call(gate, "POST", "/users/me/api-keys", bearer=alice, json=body)
    assert (status, refused["code"]) == (403, "not_superuser")
    user_id = await user_id_of(gate)
    key, _ = await make_key(gate, admin, "admin:read", "admin:write", who=ROOT)
    credit = {"amount": "5.00", "reason": "test", "transaction_type": "deposit"}
    assert (await call(gate, "GET", "/admin/users", bearer=key))[0] == 200
    path = f"/admin/users/{user_id}"
    assert (await call(gate, "POST", f"{path}/credit", bearer=key, json=credit))[0] == 200
    for method, where, sent in (
        ("PATCH", path, {"is_superuser": True}),
        ("PATCH", f"{path}/email", {"email": "mine@example.com"}),
        ("POST", f"{path}/reset-password", None),
        ("POST", f"{path}/reset-two-step", None),
        ("POST", f"{path}/end-sign-ins", None),
        ("DELETE", path, None),
    ):
        found = await refusal(gate, method, where, key, json=sent)
        assert found == (403, "api_key_forbidden"), where

    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(
            update(users).where(users.c.username == "root").values(is_superuser=False)
        )
    assert await refusal(gate, "GET", "/admin/users", key) == (403, "not_superuser")


async def test_a_key_without_a_second_factor_does_not_administer_where_one_is_required(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(admin_two_factor=True)
    admin = await sign_up_admin(gate)
    weak, _ = await make_key(gate, admin, "admin:read", who=ROOT)
    refused = (403, "second_factor_required")
    assert await refusal(gate, "GET", "/admin/users", weak) == refused
    secret = pyotp.random_base32()
    async with gate.app[DATABASE].begin() as connection:
        sealed = gate.app[KEYRING].encrypt(secret.encode())
        await connection.execute(
            update(users).values(totp_secret=sealed, totp_enabled_at=datetime.now(UTC))
        )
    assert await refusal(gate, "GET", "/admin/users", weak) == refused
    code = pyotp.TOTP(secret).now()
    strong, _ = await make_key(gate, admin, "admin:read", who=ROOT, code=code)
    assert (await call(gate, "GET", "/admin/users", bearer=strong))[0] == 200


async def test_creating_a_key_needs_the_password_and_their_number_is_limited(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(rate_limit_login="100/minute")
    bearer = await sign_up(gate)
    body = {"name": "x", "permissions": ["buy"], "current_password": "wrong"}
    status, refused = await call(gate, "POST", "/users/me/api-keys", bearer=bearer, json=body)
    assert (status, refused["code"]) == (403, "password_rejected")
    made = [await make_key(gate, bearer, "buy") for _ in range(20)]
    body["current_password"] = ALICE["password"]
    status, refused = await call(gate, "POST", "/users/me/api-keys", bearer=bearer, json=body)
    assert (status, refused["code"]) == (409, "too_many_api_keys")
    await call(gate, "DELETE", f"/users/me/api-keys/{made[0][1]}", bearer=bearer)
    await make_key(gate, bearer, "buy")


async def test_a_key_has_a_rate_limit_of_its_own(make_gate: MakeGate) -> None:
    gate = await make_gate(rate_limit_api_key="2/minute")
    bearer = await sign_up(gate)
    busy, _ = await make_key(gate, bearer)
    other, _ = await make_key(gate, bearer)
    for _ in range(2):
        assert (await call(gate, "GET", "/users/me", bearer=busy))[0] == 200
    assert await refusal(gate, "GET", "/users/me", busy) == (429, "rate_limited")
    assert (await call(gate, "GET", "/users/me", bearer=other))[0] == 200
    assert (await call(gate, "GET", "/users/me", bearer=bearer))[0] == 200


async def test_what_looks_like_a_key_is_none(gate: GateClient) -> None:
    await sign_up(gate, BOB)
    for guess in ("znk_", "znk_" + "A" * 43, "znk_" + "A" * 400, "znk_'; drop table users"):
        assert await refusal(gate, "GET", "/users/me", guess) == (401, "invalid_credentials")


async def test_every_operation_names_its_permission(gate: GateClient) -> None:
    """An operation that can take over an account or hand out credentials is listed here."""
    operations = gate.app[OPERATIONS]
    signed_in = [one for one in operations if one.security in ("bearer", "admin")]
    closed = {f"{one.method} {one.path}" for one in signed_in if one.permission is None}
    assert closed == {
        "GET /api/v1/users/me/api-keys",
        "POST /api/v1/users/me/api-keys",
        "DELETE /api/v1/users/me/api-keys/{key_id}",
        "GET /api/v1/users/me/data",
        "POST /api/v1/users/me/delete",
    }
    for one in signed_in:
        if one.permission is not None:
            assert one.permission.is_administrative == (one.security == "admin"), one.path
    assert default_permission("Money", "POST") is KeyPermission.BUY
    with pytest.raises(TypeError, match="no permissions"):
        default_permission("Unknown", "GET")

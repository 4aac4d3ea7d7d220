"""Administration over HTTP: each test on both kinds of stores."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.kit.api import ALICE, BOB, ROOT, buy, call, sign_in, sign_up, sign_up_admin, user_id_of
from tests.kit.gates import GateClient
from zenzefi.tokens.errors import TokenRevoked
from zenzefi.tokens.open_connections import ClientIdentity
from zenzefi.tokens.sessions import SESSION_TRACKER
from zenzefi.tokens.validation import TOKEN_VALIDATOR

CALLS = [
    ("GET", "/admin/users"),
    ("PATCH", f"/admin/users/{uuid4()}"),
    ("POST", f"/admin/users/{uuid4()}/credit"),
    ("GET", "/admin/tokens"),
    ("DELETE", f"/admin/tokens/{uuid4()}"),
    ("GET", "/admin/sessions"),
    ("DELETE", f"/admin/sessions/{uuid4()}"),
    ("GET", "/admin/audit-logs"),
    ("GET", "/admin/bundles"),
    ("POST", "/admin/bundles"),
    ("GET", "/admin/payments"),
]


async def test_only_administrators_come_in(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    for method, path in CALLS:
        status, response = await call(gate, method, path, bearer=bearer, json={})
        assert (status, response["detail"]) == (403, "Superuser permissions required"), path
        status, response = await call(gate, method, path, json={})
        assert (status, response["detail"]) == (403, "Not authenticated"), path


async def test_users_are_searched_and_listed_in_parts(gate: GateClient) -> None:
    admin = await sign_up_admin(gate)
    await sign_up(gate, ALICE | {"full_name": "100% Álice_"})
    await sign_up(gate, BOB)
    _, part = await call(gate, "GET", "/admin/users?limit=2&offset=1", bearer=admin)
    assert (part["total"], part["limit"], part["offset"], len(part["items"])) == (3, 2, 1, 2)
    for search, found in (
        ("ALICE", ["alice"]),
        ("example.com", ["bob", "alice", "root"]),
        ("100%", ["alice"]),
        ("b_b", []),
        ("%", ["alice"]),
        ("'; --", []),
        ("\0", ["bob", "alice", "root"]),
    ):
        options: dict[str, Any] = {"bearer": admin, "params": {"search": search}}
        status, listed = await call(gate, "GET", "/admin/users", **options)
        assert status == 200
        assert [user["username"] for user in listed["items"]] == found, search
    _, inactive = await call(gate, "GET", "/admin/users?is_active=false", bearer=admin)
    assert inactive["total"] == 0
    assert (await call(gate, "GET", "/admin/users?is_active=maybe", bearer=admin))[0] == 422


async def test_a_deactivated_user_is_out_at_once_and_can_come_back(gate: GateClient) -> None:
    admin, bearer = await sign_up_admin(gate), await sign_up(gate)
    token = await buy(gate, bearer)
    token_validator = gate.app[TOKEN_VALIDATOR]
    access = await token_validator.activate(await token_validator.validate(token["token"]))
    closed: list[str] = []
    token_validator.register(access, closed.append)
    path = f"/admin/users/{await user_id_of(gate)}"
    status, user = await call(gate, "PATCH", path, bearer=admin, json={"is_active": False})
    assert (status, user["is_active"]) == (200, False)
    assert closed == ["The account was deactivated."]
    with pytest.raises(TokenRevoked):
        await token_validator.validate(token["token"])
    assert (await call(gate, "GET", "/users/me", bearer=bearer))[0] == 403
    await call(gate, "PATCH", path, bearer=admin, json={"is_active": True})
    assert (await token_validator.validate(token["token"])).token_id == access.token_id
    assert (await call(gate, "GET", "/users/me", bearer=bearer))[0] == 200


async def test_the_last_administrator_stays_one(gate: GateClient) -> None:
    admin = await sign_up_admin(gate)
    await sign_up(gate)
    mine = f"/admin/users/{await user_id_of(gate, ROOT)}"
    for change in ({"is_superuser": False}, {"is_active": False}):
        status, response = await call(gate, "PATCH", mine, bearer=admin, json=change)
        assert (status, response["code"]) == (409, "last_administrator")
    other = f"/admin/users/{await user_id_of(gate)}"
    await call(gate, "PATCH", other, bearer=admin, json={"is_superuser": True})
    assert (await call(gate, "PATCH", mine, bearer=admin, json={"is_superuser": False}))[0] == 200
    assert (await call(gate, "GET", "/admin/users", bearer=admin))[0] == 403


async def test_two_administrators_can_not_unmake_each_other_at_once(gate: GateClient) -> None:
    bearers = [await sign_up_admin(gate), await sign_up(gate)]
    ids = [await user_id_of(gate, ROOT), await user_id_of(gate)]
    change = {"is_superuser": True}
    await call(gate, "PATCH", f"/admin/users/{ids[1]}", bearer=bearers[0], json=change)
    responses = await asyncio.gather(
        *(
            call(
                *(gate, "PATCH", f"/admin/users/{ids[1 - n]}"),
                bearer=bearers[n],
                json={"is_superuser": False},
            )
            for n in range(2)
        )
    )
    assert sorted(status for status, _ in responses) in ([200, 403], [200, 409])


@pytest.mark.parametrize("change", [{"is_active": "no"}, {"is_active": None}, {"balance": "5"}])
async def test_a_change_that_means_nothing_is_refused(
    gate: GateClient, change: dict[str, Any]
) -> None:
    admin = await sign_up_admin(gate)
    path = f"/admin/users/{await user_id_of(gate, ROOT)}"
    assert (await call(gate, "PATCH", path, bearer=admin, json=change))[0] == 422
    path = f"/admin/users/{uuid4()}"
    assert (await call(gate, "PATCH", path, bearer=admin, json={"is_active": True}))[0] == 404


async def test_a_credit_is_a_row_of_the_ledger_with_its_reason(gate: GateClient) -> None:
    admin, bearer = await sign_up_admin(gate), await sign_up(gate)
    path = f"/admin/users/{await user_id_of(gate)}/credit"
    body = {"amount": "5.5", "reason": "Paid by transfer 17"}
    status, response = await call(gate, "POST", path, bearer=admin, json=body)
    assert (status, response["new_balance"]) == (200, "5.50")
    _, listed = await call(gate, "GET", "/currency/transactions", bearer=bearer)
    (row,) = listed["items"]
    assert (row["amount"], row["description"]) == ("5.50", "Paid by transfer 17")
    for wrong in (
        {"amount": "0", "reason": "x"},
        {"amount": "-5", "reason": "x"},
        {"amount": "5"},
        {"amount": "5", "reason": " "},
        {"amount": "5", "reason": "x", "transaction_type": "refund"},
    ):
        assert (await call(gate, "POST", path, bearer=admin, json=wrong))[0] == 422
    options: dict[str, Any] = {"bearer": admin, "headers": {"Idempotency-Key": "transfer-18"}}
    responses = await asyncio.gather(
        *(call(gate, "POST", path, json=body, **options) for _ in range(5))
    )
    assert {response["new_balance"] for _, response in responses} == {"11.00"}
    _, log = await call(gate, "GET", "/admin/audit-logs?action=user.credited", bearer=admin)
    reasons = [entry["details"]["reason"] for entry in log["items"]]
    assert reasons == ["Paid by transfer 17"] * 2  # one from before, and one for 5 equal requests
    nobody = f"/admin/users/{uuid4()}/credit"
    assert (await call(gate, "POST", nobody, bearer=admin, json=body))[0] == 404


async def test_tokens_show_a_prefix_only_and_are_revoked_without_refund(gate: GateClient) -> None:
    admin, bearer = await sign_up_admin(gate), await sign_up(gate)
    token = await buy(gate, bearer)
    status, listed = await call(gate, "GET", "/admin/tokens?active_only=true", bearer=admin)
    assert status == 200
    (shown,) = listed["items"]
    assert (shown["token_prefix"], shown["username"]) == (token["token"][:8], "alice")
    assert token["token"] not in str(listed)
    path = f"/admin/tokens/{token['id']}"
    assert (await call(gate, "DELETE", path, bearer=admin))[0] == 200
    with pytest.raises(TokenRevoked):
        await gate.app[TOKEN_VALIDATOR].validate(token["token"])
    _, listed = await call(gate, "GET", "/admin/tokens?active_only=true", bearer=admin)
    assert listed["items"] == []
    options: dict[str, Any] = {"bearer": admin, "params": {"user_id": str(uuid4())}}
    assert (await call(gate, "GET", "/admin/tokens", **options))[1]["total"] == 0


async def test_sessions_are_counted_listed_and_ended(gate: GateClient) -> None:
    admin, bearer = await sign_up_admin(gate), await sign_up(gate)
    token = await buy(gate, bearer)
    token_validator, usage = gate.app[TOKEN_VALIDATOR], gate.app[SESSION_TRACKER]
    access = await token_validator.validate(token["token"])

    def note(agent: str) -> None:
        usage.note(
            access,
            device_id="a-device-id",
            address="192.0.2.7",
            agent=agent,
            bytes_in=10,
            bytes_out=1000,
        )

    for _ in range(3):
        note("Firefox")
    await usage.flush()
    note("Firefox")
    note("curl")
    await usage.flush()
    await usage.flush()
    for path, who in (("/admin/sessions", admin), ("/tokens/sessions", bearer)):
        status, listed = await call(gate, "GET", f"{path}?active_only=true", bearer=who)
        assert status == 200
        by_agent = {one["agent"]: one for one in listed["items"]}
        assert {a: one["requests"] for a, one in by_agent.items()} == {"Firefox": 4, "curl": 1}
        assert (by_agent["Firefox"]["bytes_in"], by_agent["Firefox"]["bytes_out"]) == (40, 4000)
        assert "a-device-id" not in str(listed)

    closed: list[str] = []
    token_validator.register(
        access, closed.append, ClientIdentity("a-device-id", "192.0.2.7", "Firefox")
    )
    others: list[str] = []
    token_validator.register(
        access, others.append, ClientIdentity("a-device-id", "192.0.2.7", "curl")
    )
    path = f"/admin/sessions/{by_agent['Firefox']['id']}"
    assert (await call(gate, "DELETE", path, bearer=admin))[0] == 200
    assert (closed, others) == (["The session was ended."], [])
    bob = await sign_up(gate, BOB)
    other = f"/tokens/sessions/{by_agent['curl']['id']}"
    assert (await call(gate, "DELETE", other, bearer=bob))[0] == 404
    assert (await call(gate, "DELETE", other, bearer=bearer))[0] == 200
    _, listed = await call(gate, "GET", "/admin/sessions?active_only=true", bearer=admin)
    assert listed["total"] == 0
    note("Firefox")
    await usage.flush()
    _, listed = await call(gate, "GET", "/admin/sessions?active_only=true", bearer=admin)
    assert [one["requests"] for one in listed["items"]] == [1]


async def test_the_audit_log_tells_who_did_what_from_where(gate: GateClient) -> None:
    admin, bearer = await sign_up_admin(gate), await sign_up(gate)
    token = await buy(gate, bearer)
    await call(gate, "DELETE", f"/tokens/{token['id']}", bearer=bearer)
    wrong = {"email": ALICE["email"], "password": "wrong horse"}
    await call(gate, "POST", "/auth/login", json=wrong)
    _, log = await call(gate, "GET", "/admin/audit-logs?limit=100", bearer=admin)
    actions = [row["action"] for row in log["items"]]
    assert actions[:3] == ["user.sign_in_failed", "token.revoked", "token.purchased"]
    assert {"user.registered", "user.signed_in"} <= set(actions)
    assert all(row["address"] == "127.0.0.1" and row["request_id"] for row in log["items"])
    assert all(row["ip_address"] == row["address"] for row in log["items"])
    assert all(row["user_agent"].startswith("Python/") for row in log["items"])
    assert "wrong horse" not in str(log)
    assert token["token"] not in str(log)
    alice: UUID = await user_id_of(gate)
    for filters, total in (
        ({"action": "token.revoked"}, 1),
        ({"resource_type": "token"}, 2),
        ({"user_id": str(alice), "resource_type": "token"}, 2),
        ({"user_id": str(uuid4())}, 0),
        ({"action": "nul\0"}, 0),
    ):
        options: dict[str, Any] = {"bearer": admin, "params": filters}
        assert (await call(gate, "GET", "/admin/audit-logs", **options))[1]["total"] == total
    assert (await call(gate, "GET", "/admin/audit-logs?user_id=5", bearer=admin))[0] == 422


async def test_an_administrator_signs_in_like_everybody(gate: GateClient) -> None:
    await sign_up_admin(gate)
    bearer = await sign_in(gate, ROOT)
    assert (await call(gate, "GET", "/admin/users", bearer=bearer))[0] == 200


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"Firefox/140", "Firefox/140"),
        (b"x" * 5000, "x" * 300),
        (b"", ""),
        (b"\xff\xfe\x80", "?"),
        ("Бур".encode(), "Бур"),
    ],
)
async def test_the_audit_log_keeps_any_user_agent_in_bounds(
    gate: GateClient, sent: bytes, kept: str
) -> None:
    admin = await sign_up_admin(gate)
    body = b'{"email": "nobody@example.com", "password": "wrong horse"}'
    reader, writer = await asyncio.open_connection(gate.host, gate.port)
    writer.write(
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nConnection: close\r\nUser-Agent: "
        + sent
        + b"\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        + body
    )
    assert (await reader.read()).startswith(b"HTTP/1.1 401")
    writer.close()
    path = "/admin/audit-logs?action=user.sign_in_failed"
    _, log = await call(gate, "GET", path, bearer=admin)
    (row,) = log["items"]
    assert set(kept) == set(row["user_agent"] or "")
    assert len(row["user_agent"] or "") <= 300

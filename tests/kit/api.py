"""What API tests share: one call, a user signed in, a purchased token, money on an account."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import select, update

from tests.kit.gates import GateClient
from zenzefi.accounts.models import users
from zenzefi.billing.ledger import Kind, move
from zenzefi.db.engine import DATABASE

ALICE = {"email": "alice@example.com", "username": "alice", "password": "correct horse"}
BOB = {"email": "bob@example.com", "username": "bob", "password": "battery staple"}
ROOT = {"email": "root@example.com", "username": "root", "password": "all the power"}


async def call(
    gate: GateClient, method: str, path: str, *, bearer: str | None = None, **options: Any
) -> tuple[int, Any]:
    """One call of the API: its status and its JSON."""
    headers = dict(options.pop("headers", {}))
    if bearer is not None:
        headers["Authorization"] = f"Bearer {bearer}"
    async with gate.request(method, f"/api/v1{path}", headers=headers, **options) as response:
        return response.status, await response.json()


async def sign_up(gate: GateClient, who: dict[str, str] = ALICE) -> str:
    """A new account, signed in: its bearer token."""
    status, response = await call(gate, "POST", "/auth/register", json=who)
    assert status == 201, response
    return await sign_in(gate, who)


async def sign_in(gate: GateClient, who: dict[str, str] = ALICE) -> str:
    """A bearer token of an account that is there already."""
    credentials = {key: who[key] for key in ("email", "password")}
    status, response = await call(gate, "POST", "/auth/login", json=credentials)
    assert status == 200, response
    return str(response["access_token"])


async def sign_up_admin(gate: GateClient) -> str:
    """An administrator, signed in."""
    bearer = await sign_up(gate, ROOT)
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(
            update(users).where(users.c.username == "root").values(is_superuser=True)
        )
    return bearer


async def user_id_of(gate: GateClient, who: dict[str, str] = ALICE) -> UUID:
    """The id of a user."""
    async with gate.app[DATABASE].read() as connection:
        found: UUID = (
            await connection.execute(select(users.c.id).where(users.c.username == who["username"]))
        ).scalar_one()
        return found


async def give(gate: GateClient, amount: str, who: dict[str, str] = ALICE) -> None:
    """Put money on an account, by the ledger."""
    user_id = await user_id_of(gate, who)
    async with gate.app[DATABASE].begin() as connection:
        await move(connection, user_id, Decimal(amount), Kind.DEPOSIT, "for the test")


async def buy(gate: GateClient, bearer: str, **fields: Any) -> dict[str, Any]:
    """Buy a token."""
    body = {"duration_hours": 24} | fields
    status, token = await call(gate, "POST", "/tokens/purchase", bearer=bearer, json=body)
    assert status == 201, token
    return dict(token)

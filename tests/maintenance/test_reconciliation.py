"""Reconciliation reports every discrepancy between balances, ledger, tokens and payments."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from tests.kit.api import ALICE, BOB, buy, call, give, sign_up, user_id_of
from tests.kit.gates import GateClient, MakeGate
from tests.kit.payments import MOCK, open_payment, send_webhook
from zenzefi.db.engine import DATABASE, Database
from zenzefi.maintenance import reconciliation
from zenzefi.maintenance.reconciliation import Discrepancy, reconcile


@pytest.fixture
async def shop(make_gate: MakeGate) -> GateClient:
    """One user who topped up, bought two tokens and returned one; and a second user."""
    gate = await make_gate(**MOCK, token_price_1h="2.00")
    bearer = await sign_up(gate)
    await sign_up(gate, BOB)
    await send_webhook(gate, await open_payment(gate, bearer), "paid")
    await buy(gate, bearer, duration_hours=1)
    token = await buy(gate, bearer, duration_hours=1)
    await call(gate, "DELETE", f"/tokens/{token['id']}", bearer=bearer)
    return gate


async def _without_triggers(database: Database) -> None:
    if database.dialect == "postgresql":
        statements = ["ALTER TABLE transactions DISABLE TRIGGER ALL"]
    else:
        names = ("update", "delete", "replace")
        statements = [f"DROP TRIGGER transactions_no_{name}" for name in names]
    async with database.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def test_consistent_accounts_have_no_discrepancy(shop: GateClient) -> None:
    found = await reconcile(shop.app[DATABASE])
    assert (found.accounts, found.rows, found.wrong, found.discrepancies) == (2, 4, 0, [])


@pytest.mark.parametrize(
    ("statements", "texts"),
    [
        (
            ["UPDATE users SET currency_balance = 400 WHERE username = 'alice'"],
            ["the balance is not the sum of the ledger"],
        ),
        (
            ["UPDATE users SET ledger_seq = 5 WHERE username = 'alice'"],
            ["a ledger row is missing or superfluous"],
        ),
        (
            # Two rows changed in opposite directions: the sum stays the same.
            [
                "UPDATE transactions SET amount = amount + 100 WHERE seq = 2",
                "UPDATE transactions SET amount = amount - 100 WHERE seq = 3",
            ],
            ["a ledger row does not match the balance before it"],
        ),
        (
            ["UPDATE access_tokens SET cost = cost + 1 WHERE refunded = 0"],
            ["the purchases in the ledger are not the cost of the tokens"],
        ),
        (
            ["UPDATE access_tokens SET refunded = 0"],
            ["the refunds in the ledger are not those of the tokens"],
        ),
        (
            ["UPDATE payments SET reversed_znc = 100"],
            ["the payments in the ledger are not the credited payments"],
        ),
    ],
)
async def test_a_change_made_directly_in_the_database_is_found(
    shop: GateClient, statements: list[str], texts: list[str]
) -> None:
    database = shop.app[DATABASE]
    await _without_triggers(database)
    async with database.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))
    found = await reconcile(database)
    alice = await user_id_of(shop, ALICE)
    assert found.wrong == 1
    assert found.discrepancies == [Discrepancy(alice, text) for text in texts]


async def test_all_accounts_are_reconciled_in_batches(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "_BATCH", 2)
    for number in range(5):
        who = {"email": f"u{number}@example.com", "username": f"user{number}"}
        await sign_up(gate, who | {"password": "correct horse"})
    database = gate.app[DATABASE]
    assert (await reconcile(database)).accounts == 5
    async with database.begin() as connection:
        await connection.execute(text("UPDATE users SET currency_balance = 1"))
    assert (await reconcile(database)).wrong == 5


async def test_accounts_are_consistent_while_the_ledger_is_written(shop: GateClient) -> None:
    async def write() -> None:
        for _ in range(10):
            await give(shop, "1.00")

    writers = [asyncio.create_task(write()) for _ in range(3)]
    while not all(writer.done() for writer in writers):
        assert (await reconcile(shop.app[DATABASE])).discrepancies == []
    await asyncio.gather(*writers)

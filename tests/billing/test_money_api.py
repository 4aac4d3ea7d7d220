"""Money over HTTP: each test on both kinds of stores."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from tests.kit.api import ALICE, BOB, buy, call, give, sign_up, sign_up_admin, user_id_of
from tests.kit.gates import GateClient, MakeGate
from tests.kit.payments import MOCK, assert_whole, balance_of, mock_event, open_payment, signed
from zenzefi.billing import ledger
from zenzefi.billing.errors import InsufficientBalance
from zenzefi.billing.models import transactions
from zenzefi.db.engine import DATABASE

BAD_AMOUNTS: list[Any] = [
    *("0", "0.00", "-1", "0.001", "1e3", "NaN", "Infinity", "-Infinity", "9" * 30, "1,00", " 1"),
    *("١٢", "１２", "", "abc", "+1", "0x10", "1_000", "01", ".5", "5."),
    *(0, -1, 0.001, True, False, None, [], {}, 10**30),
]


async def test_what_is_no_amount_of_money_is_refused(make_gate: MakeGate) -> None:
    gate = await make_gate(**MOCK, rate_limit_api="off")
    bearer, admin = await sign_up(gate), await sign_up_admin(gate)
    user_id = await user_id_of(gate)
    fine = {"name": "B", "duration_hours": 24, "token_count": 3}
    _, bundle = await call(
        *(gate, "POST", "/admin/bundles"), bearer=admin, json=fine | {"price_znc": "1"}
    )
    free = ("0", "0.00", 0)  # what may be given away can be priced at nothing
    for amount in BAD_AMOUNTS:
        calls: list[tuple[str, str, str, dict[str, Any]]] = [
            ("POST", "/currency/mock-purchase", bearer, {"amount": amount}),
            ("POST", "/currency/purchase", bearer, {"amount_znc": amount}),
            ("POST", f"/admin/users/{user_id}/credit", admin, {"amount": amount, "reason": "x"}),
        ]
        if amount is False or amount not in free:
            calls += [
                ("POST", "/admin/bundles", admin, fine | {"price_znc": amount}),
                ("PATCH", f"/admin/bundles/{bundle['id']}", admin, {"price_znc": amount}),
            ]
        for method, path, who, body in calls:
            status, response = await call(gate, method, path, bearer=who, json=body)
            assert status == 422, (path, amount, response)
            assert response["detail"][0]["loc"][0] == "body"
    assert await balance_of(gate, bearer) == "0.00"


BAD_HOURS: list[Any] = [
    *("0", "-1", "0.001", "1e3", "NaN", "Infinity", "9" * 30, "١٢", "１", "1"),
    *(0, -1, 0.001, 1.5, True, None, [], {}),
]


async def test_what_is_no_number_of_hours_is_refused(make_gate: MakeGate) -> None:
    gate = await make_gate(rate_limit_api="off")
    bearer = await sign_up(gate)
    for hours in BAD_HOURS:
        body = {"duration_hours": hours}
        status, _ = await call(gate, "POST", "/tokens/purchase", bearer=bearer, json=body)
        assert status == 422, hours
    body = {"duration_hours": 10**30}  # a number, but none that is sold
    assert (await call(gate, "POST", "/tokens/purchase", bearer=bearer, json=body))[0] == 400


async def test_numbers_that_json_allows_but_money_does_not_are_refused(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(**MOCK)
    bearer = await sign_up(gate)
    options: dict[str, Any] = {
        "bearer": bearer,
        "headers": {"Content-Type": "application/json"},
    }
    for raw in ("1e3", "1E2", "NaN", "Infinity", "-0.0", "9" * 30, "1.000", "9" * 10_000):
        body = f'{{"amount": {raw}}}'
        status, _ = await call(gate, "POST", "/currency/mock-purchase", data=body, **options)
        assert status == 422, raw


@pytest.mark.parametrize(
    ("amount", "kept"), [("12.5", "12.50"), ("7", "7.00"), (3, "3.00"), (0.1, "0.10")]
)
async def test_the_mock_provider_credits_at_once(
    make_gate: MakeGate, amount: Any, kept: str
) -> None:
    gate = await make_gate(**MOCK)
    bearer = await sign_up(gate)
    body = {"amount": amount}
    status, response = await call(gate, "POST", "/currency/mock-purchase", bearer=bearer, json=body)
    assert status == 201
    assert response["new_balance"] == kept
    assert await balance_of(gate, bearer) == kept
    _, listed = await call(gate, "GET", "/currency/transactions", bearer=bearer)
    (row,) = listed["items"]
    assert (row["amount"], row["balance_after"], row["transaction_type"]) == (kept, kept, "deposit")
    assert row["payment_id"] == response["payment_id"]
    await assert_whole(gate)


async def test_without_the_mock_provider_its_call_is_not_there(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    body = {"amount": "5"}
    assert (await call(gate, "POST", "/currency/mock-purchase", bearer=bearer, json=body))[0] == 404
    assert (await call(gate, "POST", "/webhooks/payment/mock", data=b"{}"))[0] == 404
    assert await balance_of(gate, bearer) == "0.00"


async def test_a_repeated_top_up_under_one_key_credits_once(make_gate: MakeGate) -> None:
    gate = await make_gate(**MOCK)
    bearer = await sign_up(gate)
    options: dict[str, Any] = {"bearer": bearer, "headers": {"Idempotency-Key": "k-1"}}
    body = {"amount": "5"}
    responses = await asyncio.gather(
        *(call(gate, "POST", "/currency/mock-purchase", json=body, **options) for _ in range(20))
    )
    assert {status for status, _ in responses} == {201}
    assert len({response["payment_id"] for _, response in responses}) == 1
    assert await balance_of(gate, bearer) == "5.00"
    body = {"amount": "6"}
    assert (await call(gate, "POST", "/currency/mock-purchase", json=body, **options))[0] == 422


async def test_transactions_are_listed_newest_first_in_parts_and_by_type(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(token_price_1h="1.00")
    bearer = await sign_up(gate)
    await give(gate, "10.00")
    tokens = [await buy(gate, bearer, duration_hours=1) for _ in range(3)]
    await call(gate, "DELETE", f"/tokens/{tokens[0]['id']}", bearer=bearer)
    path = "/currency/transactions?limit=2&offset=0&transaction_type="
    status, part = await call(gate, "GET", path, bearer=bearer)
    assert status == 200
    assert (part["total"], part["limit"], part["offset"]) == (5, 2, 0)
    assert [row["amount"] for row in part["items"]] == ["1.00", "-1.00"]
    assert [row["balance_after"] for row in part["items"]] == ["8.00", "7.00"]
    assert set(part["items"][0]) == {
        *("id", "amount", "balance_after", "transaction_type", "description"),
        *("payment_id", "created_at"),
    }
    _, rest = await call(gate, "GET", "/currency/transactions?limit=100&offset=2", bearer=bearer)
    assert [row["amount"] for row in rest["items"]] == ["-1.00", "-1.00", "10.00"]
    _, purchase = await call(
        gate, "GET", "/currency/transactions?transaction_type=purchase", bearer=bearer
    )
    assert purchase["total"] == 3
    for wrong in ("limit=0", "limit=101", "offset=-1", "transaction_type=theft", "limit=1&limit=2"):
        path = f"/currency/transactions?{wrong}"
        assert (await call(gate, "GET", path, bearer=bearer))[0] == 422
    await assert_whole(gate)


async def test_a_receipt_is_for_its_owner_only(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    await give(gate, "3.00")
    _, listed = await call(gate, "GET", "/currency/transactions", bearer=bearer)
    path = f"/currency/transactions/{listed['items'][0]['id']}"
    assert await call(gate, "GET", path, bearer=bearer) == (200, listed["items"][0])
    bob = await sign_up(gate, BOB)
    assert (await call(gate, "GET", path, bearer=bob))[0] == 404


async def test_the_statement_is_csv_that_no_spreadsheet_runs(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    admin = await sign_up_admin(gate)
    user_id = await user_id_of(gate)
    reasons = {
        '=HYPERLINK("http://evil")': '\'=HYPERLINK("http://evil")',
        "+7 900 000": "'+7 900 000",
        "@SUM(A1)": "'@SUM(A1)",
        "＝1+1": "'＝1+1",
        # With semicolons as separators, the text after one is a separate cell.
        "for you; =1+1": "for you; '=1+1",
        "a,-b": "a,'-b",
        'с кавычками "и" запятой, да - нет': 'с кавычками "и" запятой, да - нет',
    }
    for reason in reasons:
        body = {"amount": "2", "reason": reason}
        path = f"/admin/users/{user_id}/credit"
        assert (await call(gate, "POST", path, bearer=admin, json=body))[0] == 200
    headers = {"Authorization": f"Bearer {bearer}"}
    async with gate.get("/api/v1/currency/transactions.csv", headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
        rows = list(csv.reader(io.StringIO(await response.text())))
    assert rows[0][:4] == ["number", "time", "type", "amount"]
    assert [row[3:6] for row in rows[1:]] == [
        ["2.00", f"{2 * number}.00", text] for number, text in enumerate(reasons.values(), 1)
    ]


async def test_the_ledger_takes_no_change_and_no_deletion(gate: GateClient) -> None:
    await sign_up(gate)
    await give(gate, "3.00")
    database = gate.app[DATABASE]
    statements = [
        "UPDATE transactions SET amount = 500",
        "DELETE FROM transactions",
        "UPDATE audit_logs SET action = 'nothing'",
    ]
    if database.dialect == "postgresql":
        statements += [
            "TRUNCATE transactions",
            "TRUNCATE audit_logs",
            "TRUNCATE users CASCADE",
            "INSERT INTO transactions SELECT * FROM transactions"
            " ON CONFLICT (id) DO UPDATE SET amount = 500",
        ]
    else:
        statements += [
            "INSERT OR REPLACE INTO transactions SELECT * FROM transactions",
            "REPLACE INTO audit_logs SELECT * FROM audit_logs",
            "UPDATE OR REPLACE transactions SET seq = 1",
        ]
    for statement in statements:
        with pytest.raises(DBAPIError, match="append-only"):
            async with database.begin() as connection:
                await connection.execute(text(statement))
    with pytest.raises(DBAPIError):
        async with database.begin() as connection:
            await connection.execute(text("UPDATE users SET currency_balance = -1"))
    await assert_whole(gate)


async def test_a_failed_step_leaves_nothing_of_a_movement(gate: GateClient) -> None:
    await sign_up(gate)
    await give(gate, "3.00")
    user_id = await user_id_of(gate)
    database = gate.app[DATABASE]

    async def half() -> None:
        async with database.begin() as connection:
            await ledger.move(connection, user_id, -Decimal("1"), ledger.Kind.PURCHASE, "half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await half()
    with pytest.raises(InsufficientBalance):
        async with database.begin() as connection:
            await ledger.move(connection, user_id, -Decimal("4"), ledger.Kind.PURCHASE, "too much")
    async with database.read() as connection:
        assert str(await ledger.balance(connection, user_id)) == "3.00"
        assert len((await connection.execute(select(transactions))).all()) == 1
    await assert_whole(gate)


# --- the whole, in any order


async def test_everything_that_moves_money_at_once_leaves_the_ledger_whole(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(**MOCK, token_price_1h="1.50")
    admin, bearer = await sign_up_admin(gate), await sign_up(gate)
    body = {"name": "Two", "duration_hours": 1, "token_count": 2, "price_znc": "2.99"}
    _, bundle = await call(gate, "POST", "/admin/bundles", bearer=admin, json=body)
    user_id = await user_id_of(gate, ALICE)
    payment_ids = [await open_payment(gate, bearer) for _ in range(3)]
    acts: list[Callable[[], Awaitable[Any]]] = []
    for payment_id in payment_ids:
        for kind, amount in (("paid", "100.00"), ("refunded", "45.00"), ("disputed", "100.00")):
            event = signed(mock_event(payment_id, kind, amount))
            acts += [partial(call, gate, "POST", "/webhooks/payment/mock", **event)] * 2
    credit = {"amount": "3.33", "reason": "for the test"}
    for _ in range(6):
        acts += [
            lambda: call(gate, "POST", f"/admin/users/{user_id}/credit", bearer=admin, json=credit),
            lambda: call(
                *(gate, "POST", "/tokens/purchase"), bearer=bearer, json={"duration_hours": 1}
            ),
            lambda: call(gate, "POST", f"/bundles/{bundle['id']}/purchase", bearer=bearer),
        ]
    responses = await asyncio.gather(*(act() for act in acts))
    assert {status for status, _ in responses} <= {200, 201, 402}
    _, tokens = await call(gate, "GET", "/tokens/my-tokens", bearer=bearer)
    await asyncio.gather(
        *(call(gate, "DELETE", f"/tokens/{t['id']}", bearer=bearer) for t in tokens * 2)
    )
    await assert_whole(gate)
    assert float(await balance_of(gate, bearer)) >= 0

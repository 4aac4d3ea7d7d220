"""Money over HTTP: each test on both kinds of stores."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import hmac
import io
import json
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from tests.conftest import SECRET_KEY, GateClient, MakeGate
from tests.kit import ALICE, BOB, buy, call, give, sign_up, sign_up_admin, user_id_of
from zenzefi.billing import ledger
from zenzefi.billing.models import payment_events, payments, transactions
from zenzefi.billing.payments import PAYMENTS
from zenzefi.billing.providers.base import Event, Outcome
from zenzefi.db.engine import DATABASE
from zenzefi.errors import InsufficientBalance

MOCK: dict[str, Any] = {"payment_providers": ["mock"], "debug": True}
STRIPE_SECRET = "whsec_test_first"
STRIPE: dict[str, Any] = {
    "payment_providers": ["stripe"],
    "stripe_secret_key": "sk_test_none",
    "stripe_webhook_secret": [STRIPE_SECRET, "whsec_test_second"],
}
BAD_AMOUNTS: list[Any] = [
    *("0", "0.00", "-1", "0.001", "1e3", "NaN", "Infinity", "-Infinity", "9" * 30, "1,00", " 1"),
    *("١٢", "１２", "", "abc", "+1", "0x10", "1_000", "01", ".5", "5."),
    *(0, -1, 0.001, True, False, None, [], {}, 10**30),
]


async def balance_of(gate: GateClient, bearer: str) -> str:
    status, answer = await call(gate, "GET", "/currency/balance", bearer=bearer)
    assert status == 200
    assert answer["currency"] == "ZNC"
    return str(answer["balance"])


async def assert_whole(gate: GateClient) -> None:
    async with gate.app[DATABASE].read() as connection:
        assert await ledger.unbalanced(connection) == []


async def test_what_is_no_amount_of_money_is_refused(make_gate: MakeGate) -> None:
    gate = await make_gate(**MOCK)
    bearer = await sign_up(gate)
    for amount in BAD_AMOUNTS:
        for path, body in (
            ("/currency/mock-purchase", {"amount": amount}),
            ("/currency/purchase", {"amount_znc": amount, "return_url": "https://gate.example/"}),
        ):
            status, answer = await call(gate, "POST", path, bearer=bearer, json=body)
            assert status == 422, (path, amount, answer)
            assert answer["detail"][0]["loc"][0] == "body"
    assert await balance_of(gate, bearer) == "0.00"


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
    status, answer = await call(gate, "POST", "/currency/mock-purchase", bearer=bearer, json=body)
    assert status == 201
    assert answer["new_balance"] == kept
    assert await balance_of(gate, bearer) == kept
    _, listed = await call(gate, "GET", "/currency/transactions", bearer=bearer)
    (row,) = listed["items"]
    assert (row["amount"], row["balance_after"], row["transaction_type"]) == (kept, kept, "deposit")
    assert row["payment_id"] == answer["payment_id"]
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
    answers = await asyncio.gather(
        *(call(gate, "POST", "/currency/mock-purchase", json=body, **options) for _ in range(20))
    )
    assert {status for status, _ in answers} == {201}
    assert len({answer["payment_id"] for _, answer in answers}) == 1
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
    _, bought = await call(
        gate, "GET", "/currency/transactions?transaction_type=purchase", bearer=bearer
    )
    assert bought["total"] == 3
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
    body = {"amount": "2", "reason": '=HYPERLINK("http://evil")'}
    user_id = await user_id_of(gate)
    await call(gate, "POST", f"/admin/users/{user_id}/credit", bearer=admin, json=body)
    headers = {"Authorization": f"Bearer {bearer}"}
    async with gate.get("/api/v1/currency/transactions.csv", headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
        rows = list(csv.reader(io.StringIO(await response.text())))
    assert rows[0][:4] == ["number", "time", "type", "amount"]
    assert rows[1][3:6] == ["2.00", "2.00", '\'=HYPERLINK("http://evil")']


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
        statements.append("TRUNCATE transactions")
    for statement in statements:
        with pytest.raises(DBAPIError, match="append-only"):
            async with database.begin() as connection:
                await connection.execute(text(statement))
    with pytest.raises(DBAPIError):
        async with database.begin() as connection:
            await connection.execute(text("UPDATE users SET currency_balance = -1"))
    await assert_whole(gate)


async def test_a_changed_balance_is_found_by_the_proof(gate: GateClient) -> None:
    await sign_up(gate)
    await give(gate, "3.00")
    database = gate.app[DATABASE]
    async with database.begin() as connection:
        await connection.execute(text("UPDATE users SET currency_balance = 400"))
    async with database.read() as connection:
        assert await ledger.unbalanced(connection) == [await user_id_of(gate)]


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


# --- payments


async def test_a_payment_is_opened_pending_and_cancelled(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    body = {"amount_znc": "100", "return_url": "https://gate.example/done"}
    status, answer = await call(gate, "POST", "/currency/purchase", bearer=bearer, json=body)
    assert status == 201
    assert (answer["amount_znc"], answer["amount_rub"]) == ("100.00", "1000.00")
    assert answer["status"] == "pending"
    assert answer["payment_url"].startswith("http")
    _, listed = await call(gate, "GET", "/currency/payments", bearer=bearer)
    assert [row["payment_id"] for row in listed["items"]] == [answer["payment_id"]]
    path = f"/currency/payments/{answer['payment_id']}"
    bob = await sign_up(gate, BOB)
    assert (await call(gate, "POST", f"{path}/cancel", bearer=bob))[0] == 404
    assert (await call(gate, "POST", f"{path}/check", bearer=bearer))[1]["status"] == "pending"
    assert (await call(gate, "POST", f"{path}/cancel", bearer=bearer))[1]["status"] == "cancelled"
    assert (await call(gate, "POST", f"{path}/cancel", bearer=bearer))[0] == 409


async def test_a_return_address_that_is_none_is_refused(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    for url in (
        *("javascript:alert(1)", "//evil", "/relative", "https://u@h/", "http://[", 5),
        *("x" * 3000, "https://h\\@evil/", "https://h/\n"),
    ):
        body = {"amount_znc": "100", "return_url": url}
        status, _ = await call(gate, "POST", "/currency/purchase", bearer=bearer, json=body)
        assert status == 422, url


async def test_an_administrator_confirms_a_manual_payment_once(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    admin = await sign_up_admin(gate)
    body = {"amount_znc": "100", "return_url": "https://gate.example/done"}
    _, opened = await call(gate, "POST", "/currency/purchase", bearer=bearer, json=body)
    path = f"/admin/payments/{opened['payment_id']}/confirm"
    assert (await call(gate, "POST", path, bearer=bearer))[0] == 403
    for _ in range(2):
        status, answer = await call(gate, "POST", path, bearer=admin)
        assert (status, answer["status"]) == (200, "succeeded")
    assert await balance_of(gate, bearer) == "100.00"


def _signed(body: dict[str, Any]) -> dict[str, Any]:
    raw = json.dumps(body).encode()
    signature = hmac.new(SECRET_KEY.encode(), raw, hashlib.sha256).hexdigest()
    return {"data": raw, "headers": {"X-Mock-Signature": signature}}


@pytest.fixture
async def mock(make_gate: MakeGate) -> GateClient:
    return await make_gate(**MOCK)


async def _open(gate: GateClient, bearer: str, amount: str = "10") -> str:
    body = {"amount_znc": amount, "return_url": "https://gate.example/"}
    status, answer = await call(gate, "POST", "/currency/purchase", bearer=bearer, json=body)
    assert status == 201
    return str(answer["payment_id"])


def _event(
    payment_id: str, kind: str, amount: str | None = "100.00", **more: Any
) -> dict[str, Any]:
    return {
        "id": f"evt-{uuid4()}",
        "type": kind,
        "payment_id": payment_id,
        "amount": amount,
        "currency": "RUB",
    } | more


async def test_a_hundred_replays_of_a_webhook_credit_once(mock: GateClient) -> None:
    bearer = await sign_up(mock)
    event = _signed(_event(await _open(mock, bearer), "paid"))
    answers = await asyncio.gather(
        *(call(mock, "POST", "/webhooks/payment/mock", **event) for _ in range(100))
    )
    assert {status for status, _ in answers} == {200}
    assert sorted(answer["outcome"] for _, answer in answers)[0] == "credited"
    assert await balance_of(mock, bearer) == "10.00"
    await assert_whole(mock)


async def test_different_events_about_one_payment_credit_once(mock: GateClient) -> None:
    bearer = await sign_up(mock)
    payment_id = await _open(mock, bearer)
    for _ in range(3):
        event = _signed(_event(payment_id, "paid"))
        assert (await call(mock, "POST", "/webhooks/payment/mock", **event))[0] == 200
    assert await balance_of(mock, bearer) == "10.00"


@pytest.mark.parametrize("change", [{"amount": "99.99"}, {"currency": "USD"}, {"amount": None}])
async def test_another_amount_or_currency_is_not_credited(
    mock: GateClient, change: dict[str, Any]
) -> None:
    bearer = await sign_up(mock)
    event = _signed(_event(await _open(mock, bearer), "paid", **change))
    status, answer = await call(mock, "POST", "/webhooks/payment/mock", **event)
    assert status == 200
    assert answer["outcome"].startswith("refused")
    assert await balance_of(mock, bearer) == "0.00"


async def test_a_webhook_with_a_wrong_signature_is_refused(mock: GateClient) -> None:
    bearer = await sign_up(mock)
    event = _signed(_event(await _open(mock, bearer), "paid"))
    tampered = {**event, "data": event["data"].replace(b"100.00", b"900.00")}
    status, answer = await call(mock, "POST", "/webhooks/payment/mock", **tampered)
    assert (status, answer["code"]) == (400, "webhook_rejected")
    unsigned = {"data": event["data"]}
    assert (await call(mock, "POST", "/webhooks/payment/mock", **unsigned))[0] == 400
    assert await balance_of(mock, bearer) == "0.00"


async def test_a_refund_takes_back_and_a_replay_does_not_take_more(mock: GateClient) -> None:
    bearer = await sign_up(mock)
    payment_id = await _open(mock, bearer)
    for event in (
        _event(payment_id, "paid"),
        _event(payment_id, "refunded", "30.00"),
        _event(payment_id, "refunded", "30.00"),
        _event(payment_id, "refunded", "100.00"),
    ):
        await call(mock, "POST", "/webhooks/payment/mock", **_signed(event))
    assert await balance_of(mock, bearer) == "0.00"
    (payment,) = (await call(mock, "GET", "/currency/payments", bearer=bearer))[1]["items"]
    assert (payment["status"], payment["reversed_znc"]) == ("refunded", "10.00")
    await assert_whole(mock)


async def test_a_refund_before_its_payment_nets_out(mock: GateClient) -> None:
    bearer = await sign_up(mock)
    payment_id = await _open(mock, bearer)
    for event in (_event(payment_id, "refunded", "40.00"), _event(payment_id, "paid")):
        await call(mock, "POST", "/webhooks/payment/mock", **_signed(event))
    assert await balance_of(mock, bearer) == "6.00"
    await assert_whole(mock)


async def test_what_was_spent_before_a_refund_is_noted_as_missing(make_gate: MakeGate) -> None:
    gate = await make_gate(**MOCK, token_price_1h="7.00")
    bearer = await sign_up(gate)
    payment_id = await _open(gate, bearer)
    await call(gate, "POST", "/webhooks/payment/mock", **_signed(_event(payment_id, "paid")))
    await buy(gate, bearer, duration_hours=1)
    event = _signed(_event(payment_id, "disputed"))
    await call(gate, "POST", "/webhooks/payment/mock", **event)
    assert await balance_of(gate, bearer) == "0.00"
    async with gate.app[DATABASE].read() as connection:
        row = (await connection.execute(select(payments))).one()
    assert (str(row.reversed_znc), str(row.shortfall_znc)) == ("10.00", "7.00")
    event = _signed(_event(payment_id, "dispute_won"))
    await call(gate, "POST", "/webhooks/payment/mock", **event)
    assert await balance_of(gate, bearer) == "3.00"
    await assert_whole(gate)


async def test_an_expired_payment_that_is_paid_after_all_is_credited(mock: GateClient) -> None:
    bearer = await sign_up(mock)
    payment_id = await _open(mock, bearer)
    for kind in ("expired", "paid", "expired", "failed"):
        await call(mock, "POST", "/webhooks/payment/mock", **_signed(_event(payment_id, kind)))
    assert await balance_of(mock, bearer) == "10.00"
    (payment,) = (await call(mock, "GET", "/currency/payments", bearer=bearer))[1]["items"]
    assert payment["status"] == "succeeded"


# --- stripe's webhooks


def _stripe(
    kind: str, value: dict[str, Any], secret: str, at: float | None = None
) -> dict[str, Any]:
    event = {"id": f"evt_{uuid4().hex}", "type": kind, "data": {"object": value}}
    raw = json.dumps(event, ensure_ascii=False).encode()
    stamp = int(time.time() if at is None else at)
    signed = hmac.new(secret.encode(), f"{stamp}.".encode() + raw, hashlib.sha256).hexdigest()
    return {"data": raw, "headers": {"Stripe-Signature": f"t={stamp},v1={signed}"}}


async def _stripe_payment(gate: GateClient) -> dict[str, Any]:
    """A payment whose checkout has been made: its Checkout Session as Stripe shows it."""
    user_id = await user_id_of(gate)
    payment_id = uuid4()
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(
            payments.insert().values(
                id=payment_id,
                user_id=user_id,
                provider="stripe",
                amount_znc=Decimal("10.00"),
                amount_rub=Decimal("100.00"),
                status="pending",
                reference="cs_test_1",
            )
        )
    return {
        "id": "cs_test_1",
        "object": "checkout.session",
        "client_reference_id": str(payment_id),
        "metadata": {"payment_id": str(payment_id)},
        "payment_intent": "pi_1",
        "amount_total": 10000,
        "currency": "rub",
        "payment_status": "paid",
        "note": "Оплата",
    }


@pytest.mark.parametrize("secret", [STRIPE_SECRET, "whsec_test_second"])
async def test_stripes_signature_is_checked_with_either_secret(
    make_gate: MakeGate, secret: str
) -> None:
    gate = await make_gate(**STRIPE)
    bearer = await sign_up(gate)
    session = await _stripe_payment(gate)
    event = _stripe("checkout.session.completed", session, secret)
    for outcome in ("credited", "replay"):
        status, answer = await call(gate, "POST", "/webhooks/payment/stripe", **event)
        assert (status, answer["outcome"]) == (200, outcome)
    assert await balance_of(gate, bearer) == "10.00"


async def test_stripes_old_forged_and_unsigned_webhooks_are_refused(make_gate: MakeGate) -> None:
    gate = await make_gate(**STRIPE)
    bearer = await sign_up(gate)
    session = await _stripe_payment(gate)
    kind = "checkout.session.completed"
    old = _stripe(kind, session, STRIPE_SECRET, time.time() - 3600)
    forged = _stripe(kind, session, "whsec_of_somebody_else")
    unsigned = {"data": old["data"]}
    broken = {"data": b"\xff", "headers": old["headers"]}
    for event in (old, forged, unsigned, broken):
        assert (await call(gate, "POST", "/webhooks/payment/stripe", **event))[0] == 400
    assert await balance_of(gate, bearer) == "0.00"


async def test_stripes_delayed_payment_refund_and_dispute(make_gate: MakeGate) -> None:
    gate = await make_gate(**STRIPE)
    bearer = await sign_up(gate)
    session = await _stripe_payment(gate)
    charge = {"object": "charge", "payment_intent": "pi_1", "amount_refunded": 2500, "metadata": {}}
    dispute = {"object": "dispute", "payment_intent": "pi_1", "amount": 10000, "status": "lost"}
    steps: list[tuple[str, dict[str, Any], str]] = [
        ("checkout.session.completed", session | {"payment_status": "unpaid"}, "0.00"),
        ("checkout.session.async_payment_succeeded", session, "10.00"),
        ("charge.refunded", charge, "7.50"),
        ("customer.created", {"id": "cus_1"}, "7.50"),
        ("charge.dispute.created", dispute, "0.00"),
        ("charge.dispute.closed", dispute, "0.00"),
    ]
    for kind, value, left in steps:
        event = _stripe(kind, value, STRIPE_SECRET)
        assert (await call(gate, "POST", "/webhooks/payment/stripe", **event))[0] == 200
        assert await balance_of(gate, bearer) == left, kind
    await assert_whole(gate)


async def test_an_event_about_another_providers_payment_touches_nothing(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(payment_providers=["mock", "manual"], debug=True)
    bearer = await sign_up(gate)
    body = {"amount_znc": "10", "return_url": "https://gate.example/", "provider": "manual"}
    _, opened = await call(gate, "POST", "/currency/purchase", bearer=bearer, json=body)
    event = _signed(_event(opened["payment_id"], "paid"))
    _, answer = await call(gate, "POST", "/webhooks/payment/mock", **event)
    assert answer["outcome"] == "unknown payment"
    assert await balance_of(gate, bearer) == "0.00"
    async with gate.app[DATABASE].read() as connection:
        assert len((await connection.execute(select(payment_events))).all()) == 1


# --- bundles


async def test_a_bundle_is_bought_and_each_token_refunds_its_share(make_gate: MakeGate) -> None:
    gate = await make_gate(token_price_24h="18.00")
    admin = await sign_up_admin(gate)
    body = {"name": "Three days", "duration_hours": 24, "token_count": 3, "price_znc": "10.00"}
    status, bundle = await call(gate, "POST", "/admin/bundles", bearer=admin, json=body)
    assert status == 201
    status, listed = await call(gate, "GET", "/bundles/")
    assert (status, listed) == (200, [bundle])
    assert (bundle["price_znc"], bundle["single_price_znc"]) == ("10.00", "54.00")

    bearer = await sign_up(gate)
    path = f"/bundles/{bundle['id']}/purchase"
    assert (await call(gate, "POST", path, bearer=bearer))[0] == 402
    assert (await call(gate, "GET", "/tokens/my-tokens", bearer=bearer))[1] == []
    await give(gate, "10.00")
    options: dict[str, Any] = {"bearer": bearer, "headers": {"Idempotency-Key": "b"}}
    status, bought = await call(gate, "POST", path, **options)
    assert status == 200
    assert (await call(gate, "POST", path, **options)) == (200, bought)
    assert [token["cost_znc"] for token in bought["tokens"]] == ["3.34", "3.33", "3.33"]
    for token in bought["tokens"]:
        _, answer = await call(gate, "DELETE", f"/tokens/{token['id']}", bearer=bearer)
        assert answer["refund_amount"] == token["cost_znc"]
    assert await balance_of(gate, bearer) == "10.00"
    await assert_whole(gate)

    change = {"is_active": False}
    await call(gate, "PATCH", f"/admin/bundles/{bundle['id']}", bearer=admin, json=change)
    assert (await call(gate, "GET", "/bundles/"))[1] == []
    assert (await call(gate, "POST", path, bearer=bearer))[0] == 404


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"duration_hours": 5}, 400),
        ({"token_count": 0}, 422),
        ({"token_count": 1000}, 422),
        ({"price_znc": "-1"}, 422),
        ({"scope": "unknown"}, 422),
        ({"name": ""}, 422),
        ({"discount": 5}, 422),
    ],
)
async def test_a_bundle_that_can_not_be_sold_is_refused(
    gate: GateClient, change: dict[str, Any], status: int
) -> None:
    admin = await sign_up_admin(gate)
    body = {"name": "B", "duration_hours": 24, "token_count": 3, "price_znc": "10.00"} | change
    assert (await call(gate, "POST", "/admin/bundles", bearer=admin, json=body))[0] == status


# --- the whole, in any order


async def test_everything_that_moves_money_at_once_leaves_the_ledger_whole(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(**MOCK, token_price_1h="1.50")
    admin, bearer = await sign_up_admin(gate), await sign_up(gate)
    body = {"name": "Two", "duration_hours": 1, "token_count": 2, "price_znc": "2.99"}
    _, bundle = await call(gate, "POST", "/admin/bundles", bearer=admin, json=body)
    user_id = await user_id_of(gate, ALICE)
    payment_ids = [await _open(gate, bearer) for _ in range(3)]
    acts: list[Callable[[], Awaitable[Any]]] = []
    for payment_id in payment_ids:
        for kind, amount in (("paid", "100.00"), ("refunded", "45.00"), ("disputed", "100.00")):
            event = _signed(_event(payment_id, kind, amount))
            acts += [lambda e=event: call(gate, "POST", "/webhooks/payment/mock", **e)] * 2
    credit = {"amount": "3.33", "reason": "for the test"}
    for _ in range(6):
        acts += [
            lambda: call(gate, "POST", f"/admin/users/{user_id}/credit", bearer=admin, json=credit),
            lambda: call(
                *(gate, "POST", "/tokens/purchase"), bearer=bearer, json={"duration_hours": 1}
            ),
            lambda: call(gate, "POST", f"/bundles/{bundle['id']}/purchase", bearer=bearer),
        ]
    answers = await asyncio.gather(*(act() for act in acts))
    assert {status for status, _ in answers} <= {200, 201, 402}
    _, tokens = await call(gate, "GET", "/tokens/my-tokens", bearer=bearer)
    await asyncio.gather(
        *(call(gate, "DELETE", f"/tokens/{t['id']}", bearer=bearer) for t in tokens * 2)
    )
    await assert_whole(gate)
    assert float(await balance_of(gate, bearer)) >= 0


async def test_a_status_that_was_asked_for_is_applied_like_a_webhook(mock: GateClient) -> None:
    bearer = await sign_up(mock)
    payment_id = await _open(mock, bearer)
    outcome = await mock.app[PAYMENTS].apply(
        "mock",
        Event(
            *("status-1", "status", Outcome.PAID, UUID(payment_id)),
            amount=Decimal("100.00"),
            currency="RUB",
        ),
    )
    assert outcome == "credited"
    assert await balance_of(mock, bearer) == "10.00"

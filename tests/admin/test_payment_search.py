"""Payments of all users: found by user, number, state and day, with totals."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import update

from tests.kit.api import BOB, call, sign_up, sign_up_admin, user_id_of
from tests.kit.gates import MakeGate
from tests.kit.payments import MOCK, open_payment, send_webhook
from tests.kit.visitors import Visitor
from zenzefi.billing.models import payments
from zenzefi.db.engine import DATABASE


async def test_payments_are_found_by_user_number_state_and_day(make_gate: MakeGate) -> None:
    gate = await make_gate(**MOCK)
    admin, alice, bob = await sign_up_admin(gate), await sign_up(gate), await sign_up(gate, BOB)
    paid = await open_payment(gate, alice, "10")
    await send_webhook(gate, paid, "paid", "100.00", charge="ch_1")
    await send_webhook(gate, paid, "refunded", "30.00", charge="ch_1")
    waiting = await open_payment(gate, bob, "7")
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(
            update(payments)
            .where(payments.c.id == UUID(waiting))
            .values(created_at=datetime(2026, 3, 1, 23, 30, tzinfo=UTC))
        )
    for query, found in (
        ("", [paid, waiting]),
        (f"user_id={await user_id_of(gate, BOB)}", [waiting]),
        (f"number={paid}", [paid]),
        (f"number={paid.replace('-', '')[:9].upper()}", [paid]),
        ("number=ch_1", [paid]),
        (f"number=mock-{waiting}", [waiting]),
        (f"number={paid[:3]}", []),
        ("number=%25&status=pending", []),
        ("status=pending", [waiting]),
        ("since=2026-03-01&until=2026-03-01", [waiting]),
        ("since=2026-03-02", [paid]),
        ("until=2026-02-28", []),
    ):
        status, listed = await call(gate, "GET", f"/admin/payments?{query}", bearer=admin)
        assert status == 200, listed
        assert [item["payment_id"] for item in listed["items"]] == found, query
        assert listed["total"] == len(found)
    _, listed = await call(gate, "GET", "/admin/payments?limit=1&offset=1", bearer=admin)
    assert listed["totals"] == [
        {
            "currency": "RUB",
            "payments": 2,
            "arrived": 1,
            "received": "100.00",
            "credited": "10.00",
            "returned": "3.00",
        }
    ]
    root = await Visitor(gate).open("/login")
    await root.send("/login", email="root@example.com", password="all the power")
    await root.open(f"/admin/payments?user=ALICE&number={paid[:8]}&status=succeeded")
    assert [row.th.get_text(strip=True) for row in root.soup.select("tbody tr")] == ["alice"]
    assert "100.00" in root.soup.find("section", attrs={"aria-labelledby": "totals"}).get_text()
    for wrong, field in (("user=nobody", "user"), ("since=never", "since")):
        await root.open(f"/admin/payments?{wrong}")
        assert root.soup.find(id=f"e-{field}"), wrong
    await root.open("/admin/payments?user=nobody")
    assert not root.soup.select("tbody tr")

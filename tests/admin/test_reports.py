"""Reports: periods without I/O, and the totals over HTTP, each on both kinds of stores."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update

from tests.kit.api import ALICE, BOB, buy, call, give, sign_up, sign_up_admin, user_id_of
from tests.kit.gates import GateClient, MakeGate
from tests.kit.payments import MOCK, open_payment, send_webhook
from tests.kit.visitors import Visitor, promote
from zenzefi.accounts.models import users
from zenzefi.admin.reports import MAX_PERIODS, REPORTS, PeriodLength, ReportRange
from zenzefi.db.engine import DATABASE
from zenzefi.tokens.models import usage_sessions

DAY, WEEK, MONTH = PeriodLength
PRICES = {"token_price_1h": "2.00", "token_price_24h": "18.00"}


@pytest.mark.parametrize(
    ("since", "until", "length", "firsts"),
    [
        ("2026-11-29", "2026-12-01", DAY, ["2026-11-29", "2026-11-30", "2026-12-01"]),
        ("2026-11-25", "2026-12-07", WEEK, ["2026-11-25", "2026-11-30", "2026-12-07"]),
        ("2026-01-31", "2026-03-01", MONTH, ["2026-01-31", "2026-02-01", "2026-03-01"]),
        ("2026-11-30", "2026-11-29", DAY, []),
    ],
)
def test_a_range_is_cut_at_days_mondays_or_months(
    since: str, until: str, length: PeriodLength, firsts: list[str]
) -> None:
    wanted = ReportRange(date.fromisoformat(since), date.fromisoformat(until), length, UTC)
    assert [str(day) for day in wanted.first_days] == firsts
    assert (wanted.error is None) is bool(firsts)


@pytest.mark.parametrize("length", PeriodLength)
def test_a_report_has_a_bounded_number_of_periods(length: PeriodLength) -> None:
    since = date(2020, 2, 29)
    for days in range(1, 5000, 3):
        wanted = ReportRange(since, since + timedelta(days=days), length, UTC)
        if wanted.error is None:
            assert len(wanted.first_days) <= MAX_PERIODS


async def _report(gate: GateClient, admin: str, query: str = "") -> dict[str, Any]:
    status, report = await call(gate, "GET", f"/admin/reports?{query}", bearer=admin)
    assert status == 200, report
    return dict(report)


async def test_a_report_agrees_with_what_was_bought(make_gate: MakeGate) -> None:
    gate = await make_gate(**MOCK, **PRICES)
    admin, alice = await sign_up_admin(gate), await sign_up(gate)
    await sign_up(gate, BOB)
    payment = await open_payment(gate, alice, "50")
    await send_webhook(gate, payment, "paid", "500.00")
    await send_webhook(gate, payment, "refunded", "100.00")
    bundle = {"name": "=Ten", "duration_hours": 1, "token_count": 3, "price_znc": "5"}
    _, bundle = await call(gate, "POST", "/admin/bundles", bearer=admin, json=bundle)
    await buy(gate, alice)
    token = await buy(gate, alice, duration_hours=1)
    await call(gate, "POST", f"/bundles/{bundle['id']}/purchase", bearer=alice)
    await call(gate, "DELETE", f"/tokens/{token['id']}", bearer=alice)
    issued = {"duration_hours": 1, "reason": "sorry"}
    path = f"/admin/users/{await user_id_of(gate, BOB)}/tokens"
    assert (await call(gate, "POST", path, bearer=admin, json=issued))[0] == 201
    report = await _report(gate, admin)
    today = report["periods"][-1]
    assert len(report["periods"]) == 30
    assert today == report["total"] | {"first": today["first"]}
    assert today["first"] == today["last"] == str(datetime.now(UTC).date())
    assert today["conversion"] == pytest.approx(1 / 3)
    shown = {name: today[name] for name in ("registered", "buyers", "active_users", "tokens")}
    assert shown == {"registered": 3, "buyers": 1, "active_users": 0, "tokens": 5}
    money = ("spent_znc", "refunded_znc", "revenue_znc", "credited_znc", "returned_znc")
    assert [today[name] for name in money] == ["25.00", "2.00", "23.00", "50.00", "10.00"]
    assert (today["payments"], today["received"]) == (1, {"RUB": "500.00"})
    sales = ("bundle", "duration_hours", "sales", "tokens", "spent_znc", "refunded_znc")
    assert [tuple(offer[name] for name in sales) for offer in report["offers"]] == [
        (None, 24, 1, 1, "18.00", "0.00"),
        ("=Ten", 1, 1, 3, "5.00", "0.00"),
        (None, 1, 1, 1, "2.00", "2.00"),
        (None, 1, 1, 1, "0.00", "0.00"),
    ]
    root = await Visitor(gate).register("operator")
    await promote(gate, "operator")
    await root.open("/admin/reports")
    assert "23.00" in root.text
    for language, name in (("en", "25%"), ("ru", "25\N{NO-BREAK SPACE}%")):
        root.language = language
        await root.open("/admin/reports?by=month")
        assert name in root.soup.select(".tile__value")[3].get_text()
    await root.open(root.soup.select_one('a[href*="offers.csv"]')["href"])
    rows = list(csv.reader(io.StringIO(root.html)))
    assert rows[2][:6] == ["'=Ten", "1", "full", "1", "3", "5.00"]
    await root.open("/admin/reports/periods.csv?by=day")
    rows = list(csv.reader(io.StringIO(root.html)))
    assert (len(rows), rows[0][-1], rows[-1][-1]) == (31, "received_RUB", "500.00")


async def test_a_session_counts_in_every_period_that_it_touches(gate: GateClient) -> None:
    admin, alice = await sign_up_admin(gate), await sign_up(gate)
    await give(gate, "100")
    token = await buy(gate, alice)
    user_id = await user_id_of(gate)
    days = ((1, 5), (3, 3), (9, 20), (25, 40))  # of October; the third one begins as it ends
    async with gate.app[DATABASE].begin() as connection:
        for first, last in days:
            begin = datetime(2026, 10, 1, 12, tzinfo=UTC)
            await connection.execute(
                usage_sessions.insert().values(
                    token_id=UUID(token["id"]),
                    user_id=user_id,
                    started_at=begin + timedelta(days=first - 1),
                    last_seen_at=begin + timedelta(days=last - 1),
                )
            )
    report = await _report(gate, admin, "since=2026-10-02&until=2026-10-31")
    seen = [one["first"][-2:] for one in report["periods"] if one["active_users"]]
    expected = [2, 3, 4, 5, *range(9, 21), *range(25, 32)]
    assert [int(day) for day in seen] == expected
    assert {one["active_users"] for one in report["periods"]} == {0, 1}
    assert report["total"]["active_users"] == 1


async def test_days_begin_at_midnight_of_the_reader(gate: GateClient) -> None:
    await sign_up(gate, ALICE)
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(
            update(users).values(created_at=datetime(2026, 10, 24, 21, 30, tzinfo=UTC))
        )
    for zone, day in ((UTC, "2026-10-24"), (ZoneInfo("Europe/Moscow"), "2026-10-25")):
        wanted = ReportRange(date(2026, 10, 20), date(2026, 10, 30), DAY, zone)
        report = await gate.app[REPORTS].report(wanted)
        assert [str(one.first) for one in report.periods if one.registered] == [day]


async def test_only_administrators_read_reports_and_ranges_are_checked(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    for path in ("", "/periods.csv", "/offers.csv"):
        assert (await call(gate, "GET", f"/admin/reports{path}", bearer=bearer))[0] == 403
        assert (await call(gate, "GET", f"/admin/reports{path}"))[0] == 403
    admin = await sign_up_admin(gate)
    for query in (
        "since=2026-11-02&until=2026-11-01",
        "since=2000-01-01&until=2026-11-01",
        "since=yesterday",
        "until=9999-12-31",
        "by=hour",
    ):
        assert (await call(gate, "GET", f"/admin/reports?{query}", bearer=admin))[0] == 422, query
    root = await Visitor(gate).login("root", "all the power")
    await root.open("/admin/reports?since=2000-01-01&until=2026-11-01")
    assert root.soup.find(id="e-by")
    await root.open("/admin/reports?since=2026-11-02&until=2026-11-01&by=%00")
    assert root.soup.find(id="e-until")
    await root.open("/admin/reports?since=0001-01-01")
    assert root.soup.find(id="e-since")
    await root.open("/admin/reports?until=2000-01-02")
    assert root.status == 200

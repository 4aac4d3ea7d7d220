"""Usage over time: intervals without I/O, and the page about all tokens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from tests.kit.api import ALICE, BOB, buy, call, sign_up, user_id_of
from tests.kit.gates import GateClient
from tests.kit.visitors import Visitor
from zenzefi.db.engine import DATABASE
from zenzefi.tokens.models import usage_sessions
from zenzefi.web.usage import MAX_BARS, edges

BERLIN = ZoneInfo("Europe/Berlin")
END = datetime(2026, 10, 25, 12, 34, 56, tzinfo=UTC)  # the day on which Berlin's clock is set back


@pytest.mark.parametrize(
    ("span", "step"),
    [
        (timedelta(minutes=3), timedelta(minutes=1)),
        (timedelta(minutes=58), timedelta(minutes=1)),
        (timedelta(hours=1), timedelta(minutes=1)),
        (timedelta(hours=2), timedelta(minutes=2)),
        (timedelta(hours=12), timedelta(minutes=15)),
        (timedelta(hours=24), timedelta(minutes=30)),
        (timedelta(days=7), timedelta(hours=3)),
        (timedelta(days=30), timedelta(days=1)),
        (timedelta(days=90), timedelta(days=2)),
        (timedelta(days=4000), timedelta(days=7)),
    ],
)
@pytest.mark.parametrize("zone", [UTC, BERLIN, timezone(timedelta(hours=5, minutes=45))])
def test_intervals_fit_what_they_show(span: timedelta, step: timedelta, zone: ZoneInfo) -> None:
    bounds = edges(END - span, END, zone)
    assert len(bounds) - 1 <= MAX_BARS
    assert bounds == sorted(bounds)
    assert bounds[-2] < END <= bounds[-1]
    if step * MAX_BARS > span:
        assert bounds[0] <= END - span
    widths = {later - earlier for earlier, later in pairwise(bounds)}
    if step < timedelta(days=1):
        assert widths == {step}
    else:
        assert {one.astimezone(zone).hour for one in bounds} == {0}, (
            "days begin at midnight of the reader"
        )


async def _session(gate: GateClient, token: dict[str, str], who: dict[str, str], ago: int) -> None:
    now = datetime.now(UTC)
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(
            usage_sessions.insert().values(
                token_id=UUID(token["id"]),
                user_id=await user_id_of(gate, who),
                started_at=now - timedelta(minutes=ago),
                last_seen_at=now - timedelta(minutes=ago - 5),
                requests=3,
                bytes_in=1000,
                bytes_out=20_000,
            )
        )


async def test_usage_of_all_tokens_of_one_user(gate: GateClient) -> None:
    alice, bob = await sign_up(gate), await sign_up(gate, BOB)
    first, second, foreign = await buy(gate, alice), await buy(gate, alice), await buy(gate, bob)
    await _session(gate, first, ALICE, 20)
    await _session(gate, first, ALICE, 10)
    await _session(gate, second, ALICE, 60 * 30)
    await _session(gate, foreign, BOB, 10)
    status, week = await call(gate, "GET", "/tokens/usage", bearer=alice)
    assert status == 200
    shown = ("token_id", "requests", "bytes_in", "bytes_out")
    assert [tuple(one[name] for name in shown) for one in week] == [
        (first["id"], 6, 2000, 40_000),
        (second["id"], 3, 1000, 20_000),
    ]
    _, hour = await call(gate, "GET", "/tokens/usage?hours=1", bearer=alice)
    assert [one["token_id"] for one in hour] == [first["id"]]
    assert (await call(gate, "GET", "/tokens/usage?hours=0", bearer=alice))[0] == 422
    assert (await call(gate, "GET", "/tokens/usage"))[0] == 403
    visitor = await Visitor(gate).open("/login")
    await visitor.send("/login", email=ALICE["email"], password=ALICE["password"])
    for wanted, rows in (("week", 2), ("hour", 1), ("<x>", 2)):
        await visitor.open(f"/account/usage?range={wanted}")
        assert len(visitor.soup.select("tbody tr")) == rows, wanted
        assert foreign["token"][:8] not in visitor.html
    await visitor.open("/account/usage?range=hour")
    assert len(visitor.soup.select(".chart rect.received")) >= 10, "minutes, not one bar"
    assert "40.0 kB" in visitor.text
    stranger = await Visitor(gate).open("/account/usage", follow=False)
    assert stranger.location.startswith("/login")

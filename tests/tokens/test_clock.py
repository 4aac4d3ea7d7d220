"""The database's clock decides; a node with clock skew logs it and goes on."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from tests.kit.api import call, sign_in
from tests.kit.gates import GateClient, Stores, running_gate
from tests.kit.tokens import active_token, validator_of
from tests.kit.visitors import PASSWORD, Visitor
from tests.kit.waiting import until
from zenzefi.db.engine import DATABASE, Database
from zenzefi.observability.metrics import CLOCK_SKEW
from zenzefi.tokens.clock import Clock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def _clock(at: list[datetime]) -> Clock:
    return Clock(lambda: at[0])


@pytest.mark.parametrize(
    ("theirs", "responded", "skew"),
    [
        (0.0, 0.0, 0.0),
        (1.0, 3.0, 0.0),  # a slow query
        (3.0, 3.0, 0.0),
        (33.0, 3.0, 30.0),  # the database is at least so far ahead
        (-30.0, 3.0, -30.0),
    ],
)
def test_a_slow_query_is_not_counted_as_clock_skew(
    theirs: float, responded: float, skew: float
) -> None:
    at = [NOON + timedelta(seconds=responded)]
    clock = _clock(at)
    clock.note(NOON + timedelta(seconds=theirs), NOON)
    assert clock.skew == skew
    assert clock.now() == at[0] + timedelta(seconds=skew)


def test_clock_skew_and_its_correction_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = _clock([NOON])
    with caplog.at_level(logging.INFO, "zenzefi.tokens.clock"):
        for _ in range(3):
            clock.note(NOON + timedelta(seconds=30), NOON)
        assert CLOCK_SKEW._value.get() == 30
        for _ in range(3):
            clock.note(NOON, NOON)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "30 s behind the database's" in said[0]
    assert "agrees with the database's" in said[1]


_SKEWED = """
CREATE SCHEMA skewed;
CREATE FUNCTION skewed.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
  'SELECT pg_catalog.clock_timestamp() + interval ''{} seconds''';
"""


async def _set_clock(cluster: Stores, skew: int) -> None:
    """Set the database's clock by a function that hides the one of PostgreSQL."""
    database = Database(cluster.settings["database_url"])
    async with database.begin() as connection:
        for statement in _SKEWED.format(skew).strip().split(";\n"):
            await connection.execute(text(statement))
        name = (await connection.execute(text("SELECT current_database()"))).scalar_one()
        path = "skewed, pg_catalog, public"
        await connection.execute(text(f'ALTER DATABASE "{name}" SET search_path = {path}'))
    await database.close()


@pytest.mark.parametrize("skew", [30, -30])
async def test_tokens_expire_in_time_on_a_node_with_clock_skew(
    cluster: Stores, skew: int, caplog: pytest.LogCaptureFixture
) -> None:
    await _set_clock(cluster, skew)
    async with running_gate(**cluster.settings) as node:
        token, access, bearer = await active_token(node)
        assert abs(validator_of(node).clock.skew - skew) < 5
        assert any("this node's clock is" in record.getMessage() for record in caplog.records)
        status, listed = await call(node, "GET", "/tokens/my-tokens", bearer=bearer)
        assert (status, listed[0]["is_active"]) == (200, True)
        # By the database's clock it expires in 2 s; by the node's in 32 s, or it has expired.
        async with node.app[DATABASE].begin() as connection:
            await connection.execute(
                text(
                    "UPDATE access_tokens SET duration_hours = 1, activated_at = clock_timestamp()"
                    " - interval '1 hour' + interval '2 seconds'"
                )
            )
        validator_of(node).cache.clear_known()
        await _forget(node, token)
        access = await validator_of(node).validate(token)
        assert 0 < access.seconds_left(validator_of(node).now()) <= 2.1
        closed: list[str] = []
        validator_of(node).register(access, closed.append)
        await until(lambda: closed)
        assert closed == ["The access token has expired."]


@pytest.mark.parametrize("skew", [300, -300])
async def test_displayed_times_and_cookie_ages_use_the_database_clock(
    cluster: Stores, skew: int
) -> None:
    """Status, cookie ages and pages do not depend on the node's clock."""
    await _set_clock(cluster, skew)
    async with running_gate(**cluster.settings) as node:
        visitor = Visitor(node)
        await visitor.register()
        path = await visitor.buy(1)
        bearer = await sign_in(node, {"email": "marta@example.com", "password": PASSWORD})
        (listed,) = (await call(node, "GET", "/tokens/my-tokens", bearer=bearer))[1]
        token = listed["token"]
        await validator_of(node).activate(await validator_of(node).validate(token))
        headers = {"X-Access-Token": token}
        async with node.get("/api/v1/proxy/status", headers=headers) as response:
            shown = (await response.json())["time_remaining_seconds"]
        assert 3600 - 60 < shown <= 3600
        status, body = await call(node, "POST", "/proxy/authenticate", json={"token": token})
        assert status == 200
        for name in ("cookie_max_age", "time_remaining_seconds"):
            assert 3600 - 60 < body[name] <= 3600
        await visitor.open(path)
        served = re.search(r'data-now="([^"]+)"', visitor.html)
        assert served is not None
        ahead = datetime.fromisoformat(served[1]) - datetime.now(UTC)
        assert abs(ahead.total_seconds() - skew) < 60


async def _forget(node: GateClient, token: str) -> None:
    """Remove the token from Redis."""
    redis_cache = validator_of(node)._redis_cache
    assert redis_cache is not None
    await redis_cache._redis.flushdb()

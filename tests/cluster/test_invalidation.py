"""The time from an invalidation on one node to its effect on the other.

Covers requests, WebSockets, streams and downloads.
The times are printed, over ``LATENCY_ROUNDS`` rounds (default: 10). A test that fails for a slow
machine would say nothing about the gate, so only the effect itself is asserted.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from tests.kit.cluster import SOON, Cluster, PurchasedToken, Report, until
from tests.kit.gate_process import environment
from tests.kit.open_connections import LatencyTable, OpenConnections, open_connections

HERE, THERE = 0, 1
ROUNDS = int(os.environ.get("LATENCY_ROUNDS", "10"))


@pytest.fixture(scope="module")
def table(report: Report) -> Iterator[LatencyTable]:
    made = LatencyTable()
    yield made
    report("\n".join(made.lines()))


def _note(table: LatencyTable, what: str, watched: OpenConnections, since: float) -> None:
    for way, ended in watched.ended.items():
        table.add(what, way, ended - since)


async def test_a_revoked_token_is_out_everywhere(cluster: Cluster, table: LatencyTable) -> None:
    user = await cluster.sign_up()
    for _ in range(ROUNDS):
        token = await cluster.buy(user)
        watched = await open_connections(cluster, THERE, token.value)
        started = time.perf_counter()
        status, _ = await cluster.call(HERE, "DELETE", f"/tokens/{token.id}", token.bearer)
        assert status == 200
        await watched.all_ended()
        _note(table, "revoked", watched, started)
        assert watched.statuses == [401]
        assert (watched.close_code, watched.close_reason) == (4401, "The access token was revoked.")


async def test_a_deactivated_user_is_out_everywhere_and_comes_in_again(
    cluster: Cluster, table: LatencyTable
) -> None:
    admin = await cluster.make_admin()
    token = await cluster.buy(await cluster.sign_up())
    path = f"/admin/users/{token.user_id}"
    for _ in range(ROUNDS):
        watched = await open_connections(cluster, THERE, token.value)
        started = time.perf_counter()
        status, _ = await cluster.call(HERE, "PATCH", path, admin, {"is_active": False})
        assert status == 200
        await watched.all_ended()
        _note(table, "deactivated", watched, started)
        assert watched.statuses == [401]
        assert (watched.close_code, watched.close_reason) == (4401, "The account was deactivated.")
        assert await cluster.get(HERE, token.value) == (401, "token_revoked")
        await cluster.call(HERE, "PATCH", path, admin, {"is_active": True})
        await until(lambda: _is_in(cluster, token))


async def _is_in(cluster: Cluster, token: PurchasedToken, **headers: str) -> bool:
    return (await cluster.get(THERE, token.value, **headers))[0] == 200


async def test_a_released_device_is_out_everywhere_and_another_one_in(
    cluster: Cluster, table: LatencyTable
) -> None:
    token = await cluster.buy(await cluster.sign_up())
    devices = ["0123456789abcdef0000", "0123456789abcdef0001"]
    path = f"/tokens/{token.id}/release-device"
    ways = ("websocket", "events", "download")
    for number in range(ROUNDS):
        first, second = devices[number % 2], devices[1 - number % 2]
        watched = await open_connections(cluster, THERE, token.value, ways=ways, X_Device_ID=first)
        assert (await cluster.get(THERE, token.value, X_Device_ID=second))[0] == 409
        started = time.perf_counter()
        status, _ = await cluster.call(HERE, "POST", path, token.bearer)
        assert status == 200
        await until(partial(_is_in, cluster, token, X_Device_ID=second))
        table.add("released", "request", time.perf_counter() - started)
        await watched.all_ended()
        _note(table, "released", watched, started)
        assert (watched.close_code, watched.close_reason) == (4401, "The device was released.")
        assert (await cluster.get(HERE, token.value, X_Device_ID=first)) == (409, "device_conflict")


async def test_an_expired_token_is_out_everywhere(cluster: Cluster, table: LatencyTable) -> None:
    user = await cluster.sign_up()
    tokens = [await cluster.buy(user, duration_hours=1) for _ in range(ROUNDS)]
    begun = timedelta(hours=1) - timedelta(seconds=6)
    async with cluster.database() as connection:
        for number, token in enumerate(tokens):
            await connection.execute(
                "UPDATE access_tokens SET activated_at = clock_timestamp() - $2::interval "
                "WHERE id = $1",
                token.id,
                begun - timedelta(milliseconds=20 * number),
            )
        due = await _due(connection, tokens)
    watched = await asyncio.gather(
        *(open_connections(cluster, THERE, token.value) for token in tokens)
    )
    for token, one in zip(tokens, watched, strict=True):
        await one.all_ended()
        _note(table, "expired", one, due[token.id])
        assert one.statuses == [401]
        assert (one.close_code, one.close_reason) == (4401, "The access token has expired.")
        assert min(one.ended.values()) > due[token.id] - 0.1
        assert await cluster.get(HERE, token.value) == (401, "token_expired")


async def _due(connection: Any, tokens: list[PurchasedToken]) -> Any:
    """When each token ends, on the clock of ``time.perf_counter``."""
    rows = await connection.fetch(
        "SELECT id, extract(epoch FROM activated_at + interval '1 hour' - clock_timestamp())"
        "::float8 AS left FROM access_tokens WHERE id = ANY($1)",
        [token.id for token in tokens],
    )
    now = time.perf_counter()
    return {row["id"]: now + row["left"] for row in rows}


async def test_the_command_line_ends_a_token_everywhere(cluster: Cluster) -> None:
    token = await cluster.buy(await cluster.sign_up())
    watched = [await open_connections(cluster, node, token.value) for node in (HERE, THERE)]
    servers = cluster.servers
    done = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "zenzefi", "token", "revoke", str(token.id)),
        env=environment(servers.folder, **servers.settings),
        cwd=servers.folder,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await done.wait() == 0
    for one in watched:
        await one.all_ended()
        assert (one.statuses, one.close_code) == ([401], 4401)


async def test_an_ended_session_closes_what_it_has_open_and_nothing_else(cluster: Cluster) -> None:
    token = await cluster.buy(await cluster.sign_up())
    ways = ("websocket", "events")
    one = await open_connections(cluster, THERE, token.value, ways=ways, User_Agent="one")
    other = await open_connections(cluster, THERE, token.value, ways=ways, User_Agent="other")
    found: dict[str, Any] = {}
    async with asyncio.timeout(SOON):
        while set(found) != {"one", "other"}:  # they are listed while they last
            await asyncio.sleep(0.2)
            _, listed = await cluster.call(HERE, "GET", "/tokens/sessions", token.bearer)
            found = {session["agent"]: session for session in listed["items"]}
    status, _ = await cluster.call(
        HERE, "DELETE", f"/tokens/sessions/{found['one']['id']}", token.bearer
    )
    assert status == 200
    await one.all_ended()
    assert (one.close_code, one.close_reason) == (4401, "The session was ended.")
    assert other.ended == {}
    assert (await cluster.get(THERE, token.value))[0] == 200
    other.cancel()

"""Logging out on one node is applied on the other, by this browser alone. The times are printed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kit.cluster import PROXY, Cluster, PurchasedToken, Report, until
from tests.kit.open_connections import LatencyTable, open_connections

HERE, THERE = 0, 1
ROUNDS = 10
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/156.0.0.0 Safari/537.36"


@pytest.fixture(scope="module")
def table(report: Report) -> Iterator[LatencyTable]:
    made = LatencyTable()
    yield made
    report("\n".join(made.lines()))


async def sign_in(cluster: Cluster, node: int, token: PurchasedToken) -> str:
    """The cookies of a browser that signs in with the token."""
    async with cluster.session.post(
        cluster.url(node, PROXY + "/authenticate"),
        json={"token": token.value},
        headers={"User-Agent": AGENT, "Sec-Fetch-Site": "same-origin"},
    ) as response:
        assert response.status == 200
        lines = response.headers.getall("Set-Cookie")
    return "; ".join(line.split(";")[0] for line in lines)


def at(cluster: Cluster, node: int, cookie: str) -> dict[str, Any]:
    """The headers of that browser at the application's origin on a node."""
    host = f"app.localhost:{cluster.servers.nodes[node].port}"
    return {"Host": host, "User_Agent": AGENT, "Sec_Fetch_Site": "same-origin", "Cookie": cookie}


async def test_logging_out_ends_what_this_browser_has_open_and_nothing_else(
    cluster: Cluster, table: LatencyTable
) -> None:
    user = await cluster.sign_up()
    token = await cluster.buy(user)
    other = await sign_in(cluster, HERE, token)
    kept = [
        await open_connections(cluster, THERE, token.value),
        await open_connections(cluster, THERE, token.value, **at(cluster, THERE, other)),
    ]
    for _ in range(ROUNDS):
        cookie = await sign_in(cluster, HERE, token)
        watched = await open_connections(cluster, THERE, token.value, **at(cluster, THERE, cookie))
        started = time.perf_counter()
        async with cluster.session.delete(
            cluster.url(HERE, PROXY + "/logout"), headers={"Cookie": cookie, "User-Agent": AGENT}
        ) as response:
            assert response.status == 200
        await watched.all_ended()
        for way, ended in watched.ended.items():
            table.add("logged out", way, ended - started)
        assert watched.statuses == [401]
        assert (watched.close_code, watched.close_reason) == (4401, "This browser was logged out.")
    for one in kept:
        assert not any(task.done() for task in one.tasks)
        one.cancel()


async def test_logging_out_while_redis_is_away_is_felt_there_too(cluster: Cluster) -> None:
    token = await cluster.buy(await cluster.sign_up())
    cookie = await sign_in(cluster, HERE, token)
    watched = await open_connections(cluster, THERE, token.value, **at(cluster, THERE, cookie))
    cluster.servers.redis.stop()
    try:
        async with cluster.session.delete(
            cluster.url(HERE, PROXY + "/logout"), headers={"Cookie": cookie, "User-Agent": AGENT}
        ) as response:
            assert response.status == 200
        await watched.all_ended()
    finally:
        cluster.servers.redis.start()
    await cluster.wait_until_ready()


async def test_logging_out_while_the_database_is_away_says_so(cluster: Cluster) -> None:
    """A response "logged out" would be false."""
    token = await cluster.buy(await cluster.sign_up())
    cookie = await sign_in(cluster, HERE, token)
    headers = {"Cookie": cookie, "User-Agent": AGENT}

    async def log_out() -> int:
        url = cluster.url(HERE, PROXY + "/logout")
        async with cluster.session.delete(url, headers=headers) as response:
            if response.status != 200:
                assert "Set-Cookie" not in response.headers
            return response.status

    cluster.servers.postgres.stop()
    try:
        assert await log_out() == 503
    finally:
        cluster.servers.postgres.start()
    await cluster.wait_until_ready()

    async def done() -> bool:
        return await log_out() == 200

    await until(done)

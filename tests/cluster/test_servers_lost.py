"""The cluster while its Redis or PostgreSQL is killed, hangs, refuses, or returns outdated values.

What clients see is asserted: known tokens go on, unknown ones get 503 and never 401, what was
revoked stays revoked, and everything heals without a restart of any gate. Real servers are killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from tests.kit.cluster import SOON, Cluster, PurchasedToken, Report, until
from tests.kit.open_connections import open_connections
from zenzefi.tokens.cache import REFUSED_LIFE
from zenzefi.tokens.redis_cache import CHANNEL
from zenzefi.tokens.token_format import cache_name, new_token
from zenzefi.tokens.token_lookup import LIFE, TRUSTED

HERE, THERE = 0, 1
BOTH = (HERE, THERE)


async def _used(cluster: Cluster, *nodes: int) -> PurchasedToken:
    """A token that is activated and known to these nodes."""
    token = await cluster.buy(await cluster.sign_up())
    for node in nodes:
        assert (await cluster.get(node, token.value))[0] == 200
    return token


@asynccontextmanager
async def _broken(
    cluster: Cluster, break_: Callable[[], object], repair: Callable[[], object]
) -> AsyncIterator[None]:
    break_()
    try:
        yield
    finally:
        repair()
        await cluster.wait_until_ready()


async def _revoke(cluster: Cluster, token: PurchasedToken, node: int = HERE) -> None:
    status, _ = await cluster.call(node, "DELETE", f"/tokens/{token.id}", token.bearer)
    assert status == 200


async def _stays_out(cluster: Cluster, token: PurchasedToken, seconds: float) -> None:
    """On both nodes, asked all the time."""
    until_ = time.monotonic() + seconds
    while time.monotonic() < until_:
        for node in BOTH:
            assert await cluster.get(node, token.value) == (401, "token_revoked")
        await asyncio.sleep(0.05)


# --- Redis


async def test_redis_killed_and_back(cluster: Cluster, report: Report) -> None:
    redis = cluster.servers.redis
    known, ending = await _used(cluster, *BOTH), await _used(cluster, *BOTH)
    watched = await open_connections(cluster, THERE, ending.value)
    async with _broken(cluster, redis.stop, redis.start):
        for node in BOTH:
            assert (await cluster.get(node, known.value))[0] == 200
        fresh = await cluster.buy((known.user_id, known.bearer))
        assert (await cluster.get(THERE, fresh.value))[0] == 200
        await until(lambda: _is_deaf(cluster, THERE))
        started = time.perf_counter()
        await _revoke(cluster, ending)
        await watched.all_ended()
        worst = max(watched.ended.values()) - started
        report(f"without Redis an invalidation took effect on the other node after {worst:.2f} s")
        assert watched.close_code == 4401
    watched = await open_connections(cluster, THERE, known.value)
    await _stays_out(cluster, ending, 0.5)
    await _revoke(cluster, known)
    await watched.all_ended()


async def _is_deaf(cluster: Cluster, node: int) -> bool:
    return await cluster.metric(node, "ends_subscription") == 0


async def test_redis_flushed(cluster: Cluster) -> None:
    known, gone = await _used(cluster, *BOTH), await _used(cluster, *BOTH)
    await _revoke(cluster, gone)
    watched = await open_connections(cluster, THERE, known.value)
    async with cluster.redis() as client:
        await client.flushall()
    # Longer than a refusal is remembered: then it is asked for again, and no tombstone is left.
    await _stays_out(cluster, gone, REFUSED_LIFE + 1)
    assert watched.ended == {}
    await _revoke(cluster, known)
    await watched.all_ended()


async def test_a_flush_is_no_stampede(cluster: Cluster) -> None:
    user = await cluster.sign_up()
    tokens = [await cluster.buy(user) for _ in range(40)]
    for token in tokens:
        await cluster.get(THERE, token.value)
    asked = await cluster.metric(THERE, 'token_lookups_total{tier="database"}')
    async with cluster.redis() as client:
        await client.flushall()
        await client.client_kill_filter(_type="pubsub")  # memory is emptied too
    responses = await asyncio.gather(
        *(cluster.get(THERE, token.value) for token in tokens for _ in range(4))
    )
    assert {status for status, _ in responses} == {200}
    assert await cluster.metric(THERE, 'token_lookups_total{tier="database"}') - asked <= 2 * 40


async def test_redis_hangs_and_wakes(cluster: Cluster, report: Report) -> None:
    redis = cluster.servers.redis
    known, ending = await _used(cluster, *BOTH), await _used(cluster, *BOTH)
    watched = await open_connections(cluster, THERE, ending.value)
    async with _broken(cluster, redis.pause, redis.resume):
        started = time.perf_counter()
        for node in BOTH:
            assert (await cluster.get(node, known.value))[0] == 200
        await _revoke(cluster, ending)
        await watched.all_ended()
        worst = max(watched.ended.values()) - started
        report(f"with a hanging Redis an invalidation took effect after {worst:.2f} s")
    await _stays_out(cluster, ending, 0.5)


async def test_a_slow_redis_does_not_slow_cached_tokens(cluster: Cluster) -> None:
    known = await _used(cluster, *BOTH)
    async with cluster.redis() as client:
        slow = asyncio.create_task(_pause_again_and_again(client))
        try:
            until_ = time.monotonic() + LIFE + 1  # every entry in memory expires meanwhile
            while time.monotonic() < until_:
                started = time.perf_counter()
                for node in BOTH:
                    assert (await cluster.get(node, known.value))[0] == 200
                assert time.perf_counter() - started < SOON
                await asyncio.sleep(0.02)
            watched = await open_connections(cluster, THERE, known.value)
            await _revoke(cluster, known)
            await watched.all_ended()
        finally:
            slow.cancel()


async def _pause_again_and_again(client: Any) -> None:
    while True:
        await client.execute_command("CLIENT", "PAUSE", "300", "ALL")
        await asyncio.sleep(0.4)


async def test_a_read_only_redis_does_not_revive_ended_tokens(cluster: Cluster) -> None:
    ending = await _used(cluster, *BOTH)
    watched = await open_connections(cluster, THERE, ending.value)
    async with cluster.redis() as client:
        assert await client.exists(cache_name(ending.value))
        await client.replicaof("127.0.0.1", "1")  # no server listens there
        try:
            await _revoke(cluster, ending)
            await watched.all_ended()
            kept = await client.get(cache_name(ending.value))
            assert isinstance(kept, bytes)
            assert b'"checked_at"' in kept
            # Redis keeps the entry of a valid token for long; no node may trust it any more.
            await _stays_out(cluster, ending, REFUSED_LIFE + 2)
            fresh = await _used(cluster, *BOTH)
        finally:
            await client.replicaof("NO", "ONE")

        async def has_tombstone() -> bool:
            return await client.get(cache_name(ending.value)) == b'{"ended":true}'

        await until(has_tombstone)
        await cluster.get(THERE, fresh.value)


@pytest.mark.parametrize("ways", [("request", "websocket"), ("request",)], ids="+".join)
async def test_after_a_lost_message_redis_is_trusted_for_seconds_only(
    cluster: Cluster, report: Report, ways: tuple[str, ...]
) -> None:
    """The safety net: the message was lost, and Redis still has the token as valid.

    An open connection is rechecked and ends its token; without one the age of the entry counts.
    """
    ending = await _used(cluster, THERE)
    watched = await open_connections(cluster, THERE, ending.value, ways=ways)
    started = time.perf_counter()
    async with cluster.database() as connection:  # without a message to the nodes
        await connection.execute(
            "UPDATE access_tokens SET revoked_at = clock_timestamp() WHERE id = $1", ending.id
        )
    async with asyncio.timeout(TRUSTED + LIFE + SOON):
        await asyncio.gather(*watched.tasks)
    took = {way: ended - started for way, ended in watched.ended.items()}
    report(f"without a message an invalidation took effect after {took}")
    if "websocket" in ways:
        assert watched.close_code == 4401


async def test_redis_holds_garbage(cluster: Cluster) -> None:
    tokens = [await _used(cluster, HERE) for _ in range(4)]
    async with cluster.redis() as client:
        names = [cache_name(token.value) for token in tokens]
        await client.delete(*names)
        await client.set(names[0], b"\xff\x00 nonsense")
        await client.lpush(names[1], "a list")
        await client.set(names[2], b'{"token_id": 5, "activated_at": "9999-12-31T23:59:59+00:00"}')
        await client.set(names[3], b"[" * 100_000)
        for noise in (b"", b"\xff", b"{}", b'{"kind":"token","id":"x"}', b"[" * 100_000):
            await client.publish(CHANNEL, noise)
        for token in tokens:
            assert (await cluster.get(THERE, token.value))[0] == 200
        for name, token in zip(names, tokens, strict=True):
            kept = await client.get(name)
            assert isinstance(kept, bytes)
            assert str(token.id).encode() in kept
    watched = await open_connections(cluster, THERE, tokens[0].value)
    await _revoke(cluster, tokens[0])
    await watched.all_ended()


# --- PostgreSQL


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
async def test_postgresql_down_and_back(cluster: Cluster, how: signal.Signals) -> None:
    postgres = cluster.servers.postgres
    known, gone = await _used(cluster, *BOTH), await _used(cluster, *BOTH)
    unknown = await cluster.buy((known.user_id, known.bearer))
    await _revoke(cluster, gone)
    watched = await open_connections(
        cluster, THERE, known.value, ways=("websocket", "events", "download")
    )
    async with cluster.database() as connection:
        await connection.execute("CHECKPOINT")  # the tests' server does not wait for its disk
    async with _broken(cluster, lambda: postgres.stop(how), postgres.start):
        until_ = time.monotonic() + LIFE + 1  # longer than memory: Redis knows it
        while time.monotonic() < until_:
            for node in BOTH:
                assert (await cluster.get(node, known.value))[0] == 200
                assert await cluster.get(node, gone.value) == (401, "token_revoked")
                assert await cluster.get(node, unknown.value) == (503, "database_unavailable")
                assert await cluster.get(node, new_token()) == (503, "database_unavailable")
            await asyncio.sleep(0.1)
        status, _ = await cluster.call(HERE, "GET", "/users/me", known.bearer)
        assert status == 503
        assert watched.ended == {}
    for node in BOTH:
        await until(partial(_is_in, cluster, node, unknown))
        assert await cluster.get(node, gone.value) == (401, "token_revoked")
    assert watched.ended == {}
    await _revoke(cluster, known)
    await watched.all_ended()


async def _is_in(cluster: Cluster, node: int, token: PurchasedToken) -> bool:
    return (await cluster.get(node, token.value))[0] == 200


async def test_postgresql_hangs_and_wakes(cluster: Cluster, report: Report) -> None:
    """As during a failover: connected, but silent. Users of known tokens do not wait for it."""
    known = await _used(cluster, *BOTH)
    unknown = await cluster.buy((known.user_id, known.bearer))
    async with _broken(
        cluster,
        lambda: _signal_postgres(cluster, signal.SIGSTOP),
        lambda: _signal_postgres(cluster, signal.SIGCONT),
    ):
        slowest = 0.0
        until_ = time.monotonic() + LIFE + 2
        while time.monotonic() < until_:
            started = time.perf_counter()
            for node in BOTH:
                assert (await cluster.get(node, known.value))[0] == 200
            slowest = max(slowest, time.perf_counter() - started)
            await asyncio.sleep(0.02)
        report(f"with a PostgreSQL that hangs the slowest request took {slowest:.2f} s")
        assert await cluster.get(HERE, unknown.value) == (503, "database_unavailable")
    for node in BOTH:
        await until(partial(_is_in, cluster, node, unknown), within=40)


def _signal_postgres(cluster: Cluster, what: signal.Signals) -> None:
    process = cluster.servers.postgres._process
    assert process is not None
    postmaster = process.pid
    with open(f"/proc/{postmaster}/task/{postmaster}/children") as children:
        for pid in (postmaster, *map(int, children.read().split())):
            os.kill(pid, what)


# --- both


async def test_both_down_and_back(cluster: Cluster) -> None:
    postgres, redis = cluster.servers.postgres, cluster.servers.redis
    known, gone = await _used(cluster, *BOTH), await _used(cluster, *BOTH)
    watched = await open_connections(cluster, THERE, known.value, ways=("websocket", "download"))
    await _revoke(cluster, gone)
    async with cluster.database() as connection:
        await connection.execute("CHECKPOINT")

    def break_() -> None:
        redis.stop()
        postgres.stop(signal.SIGQUIT)

    def repair() -> None:
        postgres.start()
        redis.start()

    async with _broken(cluster, break_, repair):
        seen = set()
        until_ = time.monotonic() + LIFE + 1
        while time.monotonic() < until_:
            for node in BOTH:
                seen.add((await cluster.get(node, known.value))[0])
                assert (await cluster.get(node, gone.value))[0] in (401, 503)
            await asyncio.sleep(0.05)
        assert seen <= {200, 503}  # until its entry ends, and never 401
        assert 503 in seen
        assert watched.ended == {}
    for node in BOTH:
        await until(partial(_is_in, cluster, node, known))
        assert await cluster.get(node, gone.value) == (401, "token_revoked")
    await _revoke(cluster, known)
    await watched.all_ended()

"""Token validation on two nodes: invalidation messages, Redis, and the loss of a server."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
import redis.asyncio as redis_client

from tests.kit.api import buy, call, sign_up
from tests.kit.database_lookups import HeldLookup, LookupCounter
from tests.kit.gates import SECRET_KEY, GateClient, Stores, running_gate
from tests.kit.servers import Postgres, own_redis
from tests.kit.tokens import SOON, subscribed, validator_of
from tests.kit.waiting import until
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.tokens.errors import TokenRevoked
from zenzefi.tokens.invalidation import InvalidationMessage
from zenzefi.tokens.redis_entries import TOMBSTONE
from zenzefi.tokens.token_format import cache_name


async def test_a_token_revoked_on_another_node_during_its_look_up_is_refused(
    nodes: list[GateClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = nodes
    bearer = await sign_up(here)
    token = await buy(here, bearer)
    held = HeldLookup(monkeypatch)
    asking = asyncio.create_task(validator_of(there).validate(token["token"]))
    await held.has_read.wait()
    await call(here, "DELETE", f"/tokens/{token['id']}", bearer=bearer)
    await until(lambda: UUID(token["id"]) in validator_of(there).cache.invalidated)
    held.release()
    with pytest.raises(TokenRevoked):
        await asking


async def test_a_later_message_replaces_an_unsent_one(cluster: Stores) -> None:
    """Deactivated without Redis, and reactivated: no tombstone is written afterwards."""
    with own_redis() as server:
        async with running_gate(**(cluster.settings | {"redis_url": server.url})) as node:
            await subscribed(node)
            token = (await buy(node, await sign_up(node)))["token"]
            access = await validator_of(node).activate(await validator_of(node).validate(token))
            server.stop()
            for kind in ("user", "restored"):
                await validator_of(node).announce(
                    InvalidationMessage(kind, access.user_id, "-"), [token]
                )
            assert len(validator_of(node).invalidation) == 1
            server.start()
            await subscribed(node)
            await until(lambda: not len(validator_of(node).invalidation))
            async with redis_client.Redis.from_url(server.url) as client:
                assert await client.get(cache_name(token)) != TOMBSTONE
            assert (await validator_of(node).validate(token)).is_activated


async def test_one_of_a_hundred_first_uses_on_two_nodes_activates(nodes: list[GateClient]) -> None:
    token = (await buy(nodes[0], await sign_up(nodes[0])))["token"]
    accesses = [await validator_of(node).validate(token) for node in nodes]
    used = await asyncio.gather(
        *(validator_of(nodes[n % 2]).activate(accesses[n % 2]) for n in range(100))
    )
    assert len({access.activated_at for access in used}) == 1
    assert used[0].is_activated


async def test_a_revocation_reaches_the_other_node(
    nodes: list[GateClient], capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = nodes
    bearer = await sign_up(here)
    took: list[float] = []
    for _ in range(5):
        token = await buy(here, bearer)
        access = await validator_of(there).activate(
            await validator_of(there).validate(token["token"])
        )
        closed: list[str] = []
        validator_of(there).register(access, closed.append)
        started = time.perf_counter()
        await call(here, "DELETE", f"/tokens/{token['id']}", bearer=bearer)
        await until(closed.copy)
        took.append(time.perf_counter() - started)
        assert validator_of(there).cached(token["token"]) is None
        with pytest.raises(TokenRevoked):
            await validator_of(there).validate(token["token"])
    print(f"ended on the other node after {max(took) * 1000:.0f} ms at worst of {len(took)}")


async def test_an_outdated_look_up_does_not_replace_a_tombstone(
    nodes: list[GateClient], redis_url: str
) -> None:
    here, there = nodes
    bearer = await sign_up(here)
    token = await buy(here, bearer)
    access = await validator_of(here).activate(await validator_of(here).validate(token["token"]))
    await call(here, "DELETE", f"/tokens/{token['id']}", bearer=bearer)
    redis_cache = validator_of(there)._redis_cache
    assert redis_cache is not None
    await redis_cache.put([(token["token"], access, None)], datetime.now(UTC))
    validator_of(there).cache.invalidated.clear()
    validator_of(there).cache.refused.clear()
    with pytest.raises(TokenRevoked):
        await validator_of(there).validate(token["token"])


@pytest.mark.parametrize(
    "garbage", [b"", b"\xff", b"[]", b"null", b'{"token_id": 5}', b'{"ended": "perhaps"}']
)
async def test_invalid_data_in_redis_is_ignored(
    nodes: list[GateClient], redis_url: str, garbage: bytes
) -> None:
    token = (await buy(nodes[0], await sign_up(nodes[0])))["token"]
    async with redis_client.Redis.from_url(redis_url) as client:
        await client.set(cache_name(token), garbage)
        await client.publish("zenzefi:ended", garbage)
        assert (await validator_of(nodes[0]).validate(token)).duration_hours == 24


async def test_the_other_node_finds_an_activated_token_in_redis(
    nodes: list[GateClient], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = nodes
    token = (await buy(here, await sign_up(here)))["token"]
    access = await validator_of(here).activate(await validator_of(here).validate(token))
    lookups = LookupCounter(monkeypatch)
    assert await validator_of(there).validate(token) == access
    assert lookups.count == 0
    async with redis_client.Redis.from_url(redis_url) as client:
        assert 0 < await client.ttl(cache_name(token)) <= 24 * 3600
        kept = await client.get(cache_name(token))
        assert isinstance(kept, bytes)
        assert token.encode() not in kept


async def test_redis_unavailable_and_available_again(cluster: Stores) -> None:
    with own_redis() as server:
        settings = cluster.settings | {"redis_url": server.url}
        async with running_gate(**settings) as here, running_gate(**settings) as there:
            await subscribed(here)
            await subscribed(there)
            bearer = await sign_up(here)
            tokens = [await buy(here, bearer) for _ in range(2)]
            accesses = [
                await validator_of(there).activate(
                    await validator_of(there).validate(token["token"])
                )
                for token in tokens
            ]
            closed: list[str] = []
            validator_of(there).register(accesses[0], closed.append)
            server.stop()
            await until(lambda: not validator_of(there).subscription.is_live)
            assert validator_of(there).cached(tokens[0]["token"]) is None
            await validator_of(there).validate(tokens[1]["token"])
            await call(here, "DELETE", f"/tokens/{tokens[0]['id']}", bearer=bearer)
            await until(lambda: closed)  # without a message
            with pytest.raises(TokenRevoked):
                await validator_of(there).validate(tokens[0]["token"])
            server.start()
            await subscribed(there)
            await until(lambda: not validator_of(here).invalidation)
            validator_of(there).cache.refused.clear()
            with pytest.raises(TokenRevoked):
                await validator_of(there).validate(tokens[0]["token"])
            await validator_of(there).validate(tokens[1]["token"])


async def test_a_hanging_redis_is_detected(cluster: Stores) -> None:
    with own_redis() as server:
        async with running_gate(**(cluster.settings | {"redis_url": server.url})) as node:
            await subscribed(node)
            token = (await buy(node, await sign_up(node)))["token"]
            server.pause()
            try:
                await until(lambda: not validator_of(node).subscription.is_live)
                async with asyncio.timeout(SOON):
                    await validator_of(node).validate(token)
            finally:
                server.resume()
            await subscribed(node)


async def test_the_database_unavailable_and_available_again(
    own_database: Postgres, redis_url: str, tmp_path: Path
) -> None:
    settings = {
        "secret_key": SECRET_KEY,
        "data_dir": tmp_path,
        "database_url": own_database.url,
        "redis_url": redis_url,
    }
    async with running_gate(**settings) as node:
        bearer = await sign_up(node)
        known = (await buy(node, bearer))["token"]
        other = (await buy(node, bearer))["token"]
        await validator_of(node).activate(await validator_of(node).validate(known))
        await asyncio.to_thread(own_database.stop)
        assert (await validator_of(node).validate(known)).is_activated
        validator_of(node).cache.known.clear()
        assert (await validator_of(node).validate(known)).is_activated  # from Redis
        with pytest.raises(DatabaseUnavailable):
            await validator_of(node).validate(other)
        status, response = await call(node, "GET", "/users/me", bearer=bearer)
        assert (status, response["code"]) == (503, "database_unavailable")
        own_database.start()  # not in a thread: the server ends with the thread that started it
        async with asyncio.timeout(SOON):
            while (await call(node, "GET", "/users/me", bearer=bearer))[0] != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            while True:  # until the circuit breaker closes
                with suppress(DatabaseUnavailable):
                    assert (await validator_of(node).validate(other)).duration_hours == 24
                    break
                await asyncio.sleep(0.1)

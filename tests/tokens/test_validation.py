"""Token validation on one node and on two: tiers, invalidation, and the loss of its servers."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis.asyncio as redis_client
from sqlalchemy import update

from tests.kit.api import buy, call, sign_up
from tests.kit.gates import SECRET_KEY, GateClient, Stores, running_gate
from tests.kit.servers import Postgres, own_redis
from tests.kit.tokens import SOON, subscribed, validator_of
from tests.kit.waiting import until
from zenzefi.db.engine import DATABASE
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.errors import RateLimited
from zenzefi.tokens import brute_force, repository, token_lookup
from zenzefi.tokens import validation as module
from zenzefi.tokens.errors import TokenExpired, TokenInvalid, TokenRevoked
from zenzefi.tokens.invalidation import InvalidationMessage
from zenzefi.tokens.models import access_tokens
from zenzefi.tokens.redis_entries import TOMBSTONE
from zenzefi.tokens.token_format import cache_name, new_token


class Counted:
    """Counts the look-ups that reach the database."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        find = repository.find

        async def counted(*arguments: Any) -> Any:
            self.count += 1
            return await find(*arguments)

        monkeypatch.setattr(repository, "find", counted)


# --- on one node, both kinds of stores


async def test_concurrent_validations_share_one_look_up(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = (await buy(gate, await sign_up(gate)))["token"]
    asked = Counted(monkeypatch)
    found = await asyncio.gather(*(validator_of(gate).validate(token) for _ in range(200)))
    assert len(set(found)) == 1
    assert validator_of(gate).cached(token) == found[0]
    assert asked.count == 1


async def test_a_cached_token_in_use_is_renewed_before_it_ends(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = (await buy(gate, await sign_up(gate)))["token"]
    await validator_of(gate).validate(token)
    monkeypatch.setattr(
        module, "_RENEW", token_lookup.LIFE + 1
    )  # every use is shortly before the end
    asked = Counted(monkeypatch)
    for _ in range(10):
        assert validator_of(gate).cached(token) is not None
    until_before = validator_of(gate).cache.known[token].until
    await until(lambda: not validator_of(gate).lookups)
    assert asked.count <= 1
    assert validator_of(gate).cache.known[token].until > until_before


async def test_a_cancelled_caller_does_not_cancel_the_shared_look_up(gate: GateClient) -> None:
    token = (await buy(gate, await sign_up(gate)))["token"]
    hasty = asyncio.create_task(validator_of(gate).validate(token))
    patient = asyncio.create_task(validator_of(gate).validate(token))
    await asyncio.sleep(0)
    hasty.cancel()
    assert (await patient).duration_hours == 24


async def test_an_unknown_token_is_cached(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Counted(monkeypatch)
    token = new_token()
    for _ in range(20):
        with pytest.raises(TokenInvalid):
            await validator_of(gate).validate(token)
    assert asked.count == 1


@pytest.mark.parametrize("token", ["", "x", "x" * 65, "x" * 63 + "!", "x" * 63 + "ü", "\0" * 64])
async def test_malformed_tokens_are_refused_without_a_look_up(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    asked = Counted(monkeypatch)
    with pytest.raises(TokenInvalid):
        await validator_of(gate).validate(token)
    assert asked.count == 0


async def test_unknown_tokens_over_the_limit_get_429_and_valid_ones_are_accepted(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    bearer = await sign_up(gate)
    token, another = [(await buy(gate, bearer))["token"] for _ in range(2)]
    monkeypatch.setattr(brute_force, "MAX_UNKNOWN", 5)
    for _ in range(5):
        with pytest.raises(TokenInvalid):
            await validator_of(gate).validate(new_token(), "192.0.2.1")
    with pytest.raises(RateLimited):
        await validator_of(gate).validate(new_token(), "192.0.2.1")
    with pytest.raises(TokenInvalid):
        await validator_of(gate).validate(new_token(), "192.0.2.2")
    await validator_of(gate).validate(token, "192.0.2.2")
    for good in (token, another):  # one that this process knows, and one that it does not
        await validator_of(gate).validate(good, "192.0.2.1")


async def test_the_caches_are_bounded(gate: GateClient, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = validator_of(gate).cache
    unknown_tokens = validator_of(gate).unknown_tokens
    for table in (cache.known, cache.refused, unknown_tokens._counts):
        monkeypatch.setattr(table, "capacity", 3)
    bearer = await sign_up(gate)
    for number in range(6):
        await validator_of(gate).validate((await buy(gate, bearer))["token"])
        with pytest.raises(TokenInvalid):
            await validator_of(gate).validate(new_token(), f"192.0.2.{number}")
    own = validator_of(gate)
    remembered = own.cache
    assert [len(remembered.known), len(remembered._plaintexts), len(remembered.refused)] == [3] * 3
    assert len(own.unknown_tokens) == 3


async def test_open_connections_are_closed_at_expiry(gate: GateClient) -> None:
    token = (await buy(gate, await sign_up(gate), duration_hours=1))["token"]
    almost = datetime.now(UTC) - timedelta(hours=1) + timedelta(seconds=1.5)
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(update(access_tokens).values(activated_at=almost))
    access = await validator_of(gate).validate(token)
    closed: list[str] = []
    with validator_of(gate).register(access, closed.append):
        await until(lambda: closed)
    assert closed == ["The access token has expired."]
    assert validator_of(gate).cached(token) is None
    with pytest.raises(TokenExpired):
        await validator_of(gate).validate(token)


async def test_released_connections_are_not_closed(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    token = await buy(gate, bearer)
    access = await validator_of(gate).validate(token["token"])
    closed: list[str] = []

    def fails(reason: str) -> None:
        raise RuntimeError(reason)

    with validator_of(gate).register(access, lambda _: closed.append("released")):
        pass
    validator_of(gate).register(access, fails)
    validator_of(gate).register(access, closed.append)
    await call(gate, "DELETE", f"/tokens/{token['id']}", bearer=bearer)
    assert closed == ["The access token was revoked."]
    assert len(validator_of(gate).open_connections) == 0


async def test_revalidation_closes_connections_without_a_message(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_lookup, "LIFE", 0.1)
    monkeypatch.setattr(token_lookup, "LIFE_ALONE", 0.1)
    token = (await buy(gate, await sign_up(gate)))["token"]
    access = await validator_of(gate).validate(token)
    closed: list[str] = []
    validator_of(gate).register(access, closed.append)
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(update(access_tokens).values(revoked_at=datetime.now(UTC)))
    await until(lambda: closed)
    with pytest.raises(TokenRevoked):
        await validator_of(gate).validate(token)


class Slow:
    """Look-ups that have read the database and have not come back yet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.has_read = asyncio.Event()
        self.go_on = asyncio.Event()
        find = repository.find

        async def slow(*arguments: Any) -> Any:
            found = await find(*arguments)
            self.has_read.set()
            await self.go_on.wait()
            return found

        monkeypatch.setattr(repository, "find", slow)


async def test_a_token_revoked_during_its_look_up_is_refused(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    bearer = await sign_up(gate)
    token = await buy(gate, bearer)
    slow = Slow(monkeypatch)
    asking = asyncio.create_task(validator_of(gate).validate(token["token"]))
    await slow.has_read.wait()
    await call(gate, "DELETE", f"/tokens/{token['id']}", bearer=bearer)
    slow.go_on.set()
    with pytest.raises(TokenRevoked):
        await asking
    assert validator_of(gate).cached(token["token"]) is None


async def test_a_look_up_across_a_subscription_change_is_not_cached(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = (await buy(gate, await sign_up(gate)))["token"]
    slow = Slow(monkeypatch)
    asking = asyncio.create_task(validator_of(gate).validate(token))
    await slow.has_read.wait()
    validator_of(gate)._on_subscription_change(not validator_of(gate).subscription.is_live)
    slow.go_on.set()
    await asking
    assert validator_of(gate).cached(token) is None


async def test_a_reactivated_user_is_accepted_without_a_message(
    gate: GateClient,
) -> None:
    token = (await buy(gate, await sign_up(gate)))["token"]
    access = await validator_of(gate).validate(token)
    await validator_of(gate).announce(
        InvalidationMessage("user", access.user_id, "The account was deactivated."), []
    )
    with pytest.raises(TokenRevoked):
        await validator_of(gate).validate(token)
    validator_of(gate).cache.refused.clear()  # seconds later
    await asyncio.sleep(0.01)
    # The account is active in the database: it was deactivated and reactivated.
    assert await validator_of(gate).validate(token) == access


# --- on two nodes


async def test_a_token_revoked_on_another_node_during_its_look_up_is_refused(
    nodes: list[GateClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = nodes
    bearer = await sign_up(here)
    token = await buy(here, bearer)
    slow = Slow(monkeypatch)
    asking = asyncio.create_task(validator_of(there).validate(token["token"]))
    await slow.has_read.wait()
    await call(here, "DELETE", f"/tokens/{token['id']}", bearer=bearer)
    await until(lambda: UUID(token["id"]) in validator_of(there).cache.invalidated)
    slow.go_on.set()
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
    asked = Counted(monkeypatch)
    assert await validator_of(there).validate(token) == access
    assert asked.count == 0
    async with redis_client.Redis.from_url(redis_url) as client:
        assert 0 < await client.ttl(cache_name(token)) <= 24 * 3600
        kept = await client.get(cache_name(token))
        assert isinstance(kept, bytes)
        assert token.encode() not in kept


# --- servers lost


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
        status, answer = await call(node, "GET", "/users/me", bearer=bearer)
        assert (status, answer["code"]) == (503, "database_unavailable")
        own_database.start()  # not in a thread: the server ends with the thread that started it
        async with asyncio.timeout(SOON):
            while (await call(node, "GET", "/users/me", bearer=bearer))[0] != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            while True:  # until the circuit breaker closes
                with suppress(DatabaseUnavailable):
                    assert (await validator_of(node).validate(other)).duration_hours == 24
                    break
                await asyncio.sleep(0.1)

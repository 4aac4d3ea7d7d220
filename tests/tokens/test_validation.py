"""Token validation on one node: the cache, shared look-ups, limits, and open connections."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from tests.kit.api import buy, call, sign_up
from tests.kit.database_lookups import HeldLookup, LookupCounter
from tests.kit.gates import GateClient
from tests.kit.tokens import validator_of
from tests.kit.waiting import until
from zenzefi.db.engine import DATABASE
from zenzefi.errors import RateLimited
from zenzefi.tokens import brute_force, token_lookup
from zenzefi.tokens import validation as module
from zenzefi.tokens.errors import TokenExpired, TokenInvalid, TokenRevoked
from zenzefi.tokens.invalidation import InvalidationMessage
from zenzefi.tokens.models import access_tokens
from zenzefi.tokens.token_format import new_token


async def test_concurrent_validations_share_one_look_up(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = (await buy(gate, await sign_up(gate)))["token"]
    lookups = LookupCounter(monkeypatch)
    found = await asyncio.gather(*(validator_of(gate).validate(token) for _ in range(200)))
    assert len(set(found)) == 1
    assert validator_of(gate).cached(token) == found[0]
    assert lookups.count == 1


async def test_a_cached_token_in_use_is_renewed_before_it_ends(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = (await buy(gate, await sign_up(gate)))["token"]
    await validator_of(gate).validate(token)
    monkeypatch.setattr(
        module, "_RENEW", token_lookup.LIFE + 1
    )  # every use is shortly before the end
    lookups = LookupCounter(monkeypatch)
    for _ in range(10):
        assert validator_of(gate).cached(token) is not None
    until_before = validator_of(gate).cache.known[token].until
    await until(lambda: not validator_of(gate).lookups)
    assert lookups.count <= 1
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
    lookups = LookupCounter(monkeypatch)
    token = new_token()
    for _ in range(20):
        with pytest.raises(TokenInvalid):
            await validator_of(gate).validate(token)
    assert lookups.count == 1


@pytest.mark.parametrize("token", ["", "x", "x" * 65, "x" * 63 + "!", "x" * 63 + "ü", "\0" * 64])
async def test_malformed_tokens_are_refused_without_a_look_up(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    lookups = LookupCounter(monkeypatch)
    with pytest.raises(TokenInvalid):
        await validator_of(gate).validate(token)
    assert lookups.count == 0


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


async def test_a_token_revoked_during_its_look_up_is_refused(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    bearer = await sign_up(gate)
    token = await buy(gate, bearer)
    held = HeldLookup(monkeypatch)
    asking = asyncio.create_task(validator_of(gate).validate(token["token"]))
    await held.has_read.wait()
    await call(gate, "DELETE", f"/tokens/{token['id']}", bearer=bearer)
    held.release()
    with pytest.raises(TokenRevoked):
        await asking
    assert validator_of(gate).cached(token["token"]) is None


async def test_a_look_up_across_a_subscription_change_is_not_cached(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = (await buy(gate, await sign_up(gate)))["token"]
    held = HeldLookup(monkeypatch)
    asking = asyncio.create_task(validator_of(gate).validate(token))
    await held.has_read.wait()
    validator_of(gate)._on_subscription_change(not validator_of(gate).subscription.is_live)
    held.release()
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

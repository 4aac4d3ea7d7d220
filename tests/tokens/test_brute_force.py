"""Protection against guessed tokens, and floods of look-ups."""

from __future__ import annotations

import asyncio
from time import monotonic
from uuid import UUID

import pytest

from tests.kit.api import buy, sign_up
from tests.kit.gates import GateClient, MakeGate
from tests.kit.recording_upstream import RecordingUpstream
from tests.kit.tokens import validator_of
from tests.kit.waiting import until
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.errors import Unavailable
from zenzefi.rate_limits.networks import rate_limit_network
from zenzefi.tokens import brute_force, circuit_breaker, repository, single_flight
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.brute_force import LookupQueue, UnknownTokenLimiter
from zenzefi.tokens.errors import TokenInvalid, TooManyUnknownTokens
from zenzefi.tokens.single_flight import SingleFlight
from zenzefi.tokens.token_format import new_token


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("no:address", "no:address"),
    ],
)
def test_an_ipv6_network_of_64_bits_counts_as_one_client(address: str, network: str) -> None:
    assert rate_limit_network(address) == network


def test_the_count_of_unknown_tokens_restarts_after_a_minute() -> None:
    guesses = UnknownTokenLimiter()
    for _ in range(brute_force.MAX_UNKNOWN):
        assert guesses.reserve("192.0.2.1", 0.0)
    assert not guesses.reserve("192.0.2.1", 20.0)
    assert guesses.refusal("192.0.2.1", 20.0).headers["Retry-After"] == "41"
    assert guesses.reserve("192.0.2.2", 20.0)
    guesses.release("192.0.2.1")
    assert guesses.reserve("192.0.2.1", 20.0)
    assert not guesses.reserve("192.0.2.1", 20.0)
    assert guesses.reserve("192.0.2.1", 61.0)


PATHS = ("/api/v1/proxy/status", "/api/v1/proxy/page", "/api/v1/auth/verify")


async def _status(gate: GateClient, way: str, token: str, address: str) -> int:
    headers = {"X-Forwarded-For": address}
    if way == "authenticate":
        url = "/api/v1/proxy/authenticate"
        async with gate.post(url, json={"token": token}, headers=headers) as response:
            return response.status
    if way == "websocket":
        headers |= {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        headers["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
        async with gate.get(f"/api/v1/proxy/ws?token={token}", headers=headers) as response:
            return response.status
    async with gate.get(way, headers=headers | {"X-Access-Token": token}) as response:
        return response.status


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "by a task"])
async def test_a_flood_of_unknown_tokens_gets_429_and_valid_tokens_are_accepted(
    make_gate: MakeGate,
    upstream: RecordingUpstream,
    monkeypatch: pytest.MonkeyPatch,
    at_once: bool,
) -> None:
    """On every endpoint, from the address of the flood and from another one."""
    gate = await make_gate(
        zenzefi_target_url=upstream.origin, trusted_proxies="127.0.0.0/8", fast_lane=at_once
    )
    running = most = 0
    find = repository.find

    async def counted(connection: object, indexes: list[bytes]) -> object:
        nonlocal running, most
        running += 1
        most = max(most, running)
        assert len(indexes) <= brute_force.BATCH
        try:
            return await find(connection, indexes)  # type: ignore[arg-type]
        finally:
            running -= 1

    bearer = await sign_up(gate)
    ways = (*PATHS, "authenticate", "websocket")
    good = {(way, place): (await buy(gate, bearer))["token"] for way in ways for place in (1, 2)}
    monkeypatch.setattr(repository, "find", counted)
    statuses: list[int] = []

    async def guess() -> None:
        for _ in range(40):
            status = await _status(gate, PATHS[0], new_token(), "192.0.2.1")
            statuses.append(status)

    async def use() -> None:
        await until(lambda: len(statuses) >= 200)
        for (way, place), token in good.items():
            status = await _status(gate, way, token, f"192.0.2.{place}")
            assert status in (200, 204) or (way == "websocket" and status == 502), (way, status)

    await asyncio.gather(use(), *(guess() for _ in range(10)))
    assert statuses.count(401) == brute_force.MAX_UNKNOWN
    assert statuses.count(429) == 400 - brute_force.MAX_UNKNOWN
    assert most <= 5  # four for everybody, one for all who flood
    async with gate.get(
        PATHS[0], headers={"X-Access-Token": new_token(), "X-Forwarded-For": "192.0.2.1"}
    ) as response:
        assert response.status == 429
        assert (await response.json())["code"] == "rate_limited"
        assert int(response.headers["Retry-After"]) > 0


async def test_a_planted_cookie_does_not_block_the_valid_one_during_a_flood(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brute_force, "MAX_UNKNOWN", 0)
    token = (await buy(gate, await sign_up(gate)))["token"]
    cookie = f"zenzefi_access_token={new_token()}; zenzefi_access_token={token}"
    async with gate.get(PATHS[0], headers={"Cookie": cookie}) as response:
        assert response.status == 200


async def test_a_cancelled_look_up_is_counted(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brute_force, "MAX_UNKNOWN", 5)
    for _ in range(5):
        leaving = asyncio.create_task(validator_of(gate).validate(new_token(), "192.0.2.1"))
        await asyncio.sleep(0)
        leaving.cancel()
    with pytest.raises(TooManyUnknownTokens):
        await validator_of(gate).validate(new_token(), "192.0.2.1")


async def test_concurrent_requests_with_a_valid_token_release_one_count(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = (await buy(gate, await sign_up(gate)))["token"]
    own = validator_of(gate)
    with pytest.raises(TokenInvalid):
        await own.validate(new_token(), "192.0.2.1")
    await asyncio.gather(*(own.validate(token, "192.0.2.1") for _ in range(20)))
    assert own.unknown_tokens._counts["192.0.2.1"][1] == 1


async def test_queued_networks_take_turns_and_each_queue_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(brute_force, "BATCH", 10)
    monkeypatch.setattr(brute_force, "MAX_QUEUED", 50)
    monkeypatch.setattr(brute_force, "PAUSE", 0)
    batches: list[list[str]] = []

    async def look_up(tokens: list[str]) -> dict[str, TokenAccess | Exception]:
        batches.append(tokens)
        return dict.fromkeys(tokens, ACCESS)

    queue = LookupQueue(look_up)
    flood = [queue.join(f"a{number}", "192.0.2.1") for number in range(60)]
    assert flood.count(None) == 10
    neighbour = queue.join("b", "192.0.2.2")
    others = [queue.join(f"c{number}", "2001:db8::1") for number in range(3)]
    assert queue.join("b", "192.0.2.2") is neighbour
    assert neighbour is not None
    assert await neighbour == ACCESS
    assert "b" in batches[0]  # not behind the fifty that came before it
    await asyncio.gather(*(one for one in flood + others if one is not None))
    assert sum(map(len, batches)) == 54
    assert max(map(len, batches)) <= 10
    assert len(queue) == 0
    await queue.close()


async def test_queued_callers_get_the_error_of_the_look_up() -> None:
    async def look_up(tokens: list[str]) -> dict[str, TokenAccess | Exception]:
        raise DatabaseUnavailable

    queue = LookupQueue(look_up)
    waiting = queue.join("token", "192.0.2.1")
    assert waiting is not None
    with pytest.raises(DatabaseUnavailable):
        await waiting
    await queue.close()


async def test_a_repeated_unknown_token_costs_one_look_up(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    find = repository.find

    async def counted(connection: object, indexes: list[bytes]) -> object:
        nonlocal asked
        asked += 1
        return await find(connection, indexes)  # type: ignore[arg-type]

    monkeypatch.setattr(repository, "find", counted)
    token = new_token()

    async def ask() -> None:
        with pytest.raises(TokenInvalid):
            await validator_of(gate).validate(token)

    await asyncio.gather(*(ask() for _ in range(100)))
    for _ in range(100):
        await ask()
    assert asked == 1


async def test_concurrent_tokens_are_looked_up_in_few_statements(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    bearer = await sign_up(gate)
    tokens = [(await buy(gate, bearer))["token"] for _ in range(60)]
    statements = 0
    find = repository.find

    async def counted(connection: object, indexes: list[bytes]) -> object:
        nonlocal statements
        statements += 1
        return await find(connection, indexes)  # type: ignore[arg-type]

    monkeypatch.setattr(repository, "find", counted)
    found = await asyncio.gather(*(validator_of(gate).validate(token) for token in tokens * 5))
    assert len(set(found)) == 60
    assert statements <= 4


# --- the look-ups themselves


ACCESS = TokenAccess(UUID(int=1), UUID(int=2), "full", 24)


async def test_look_ups_are_shared_batched_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_flight, "MAX_WAITING", 25)
    monkeypatch.setattr(single_flight, "BATCH", 10)
    monkeypatch.setattr(single_flight, "_AT_ONCE", 2)
    go = asyncio.Event()
    batches: list[list[str]] = []

    async def look_up(tokens: list[str]) -> dict[str, TokenAccess | Exception]:
        batches.append(tokens)
        await go.wait()
        return {token: TokenInvalid() if token == "bad" else ACCESS for token in tokens}

    asked = SingleFlight(look_up)
    names = ["bad", *map(str, range(24))]
    waiting = [asked.join(name) for name in names]
    assert asked.join("3") is asked.join("3")
    with pytest.raises(Unavailable):
        asked.join("one too many")
    await asyncio.sleep(0)
    assert len(batches) == 2  # the others wait until one of these is done
    go.set()
    responses = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(responses[0], TokenInvalid)
    assert responses[1:] == [ACCESS] * 24
    assert sorted(name for batch in batches for name in batch) == sorted(names)
    assert max(map(len, batches)) <= 10
    assert len(asked) == 0
    await asked.close()


async def test_waiting_callers_get_the_error_of_the_look_up() -> None:
    async def look_up(tokens: list[str]) -> dict[str, TokenAccess | Exception]:
        raise RuntimeError("a bug")

    asked = SingleFlight(look_up)
    with pytest.raises(RuntimeError, match="a bug"):
        await asked.join("token")
    assert len(asked) == 0
    await asked.close()


async def test_a_hanging_database_opens_the_circuit_breaker(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit_breaker, "TIMEOUT", 0.2)
    token = (await buy(gate, await sign_up(gate)))["token"]
    queries = 0
    find = repository.find
    hanging = asyncio.Event()

    async def hangs(connection: object, indexes: list[bytes]) -> object:
        nonlocal queries
        queries += 1
        await hanging.wait()
        return await find(connection, indexes)  # type: ignore[arg-type]

    monkeypatch.setattr(repository, "find", hangs)
    for _ in range(20):
        with pytest.raises(DatabaseUnavailable):
            await validator_of(gate).validate(token)
    assert queries == 1
    hanging.set()
    later = monotonic() + circuit_breaker.OPEN_FOR
    monkeypatch.setattr(circuit_breaker, "monotonic", lambda: later)
    assert (await validator_of(gate).validate(token)).duration_hours == 24

"""Floods: tokens that are guessed, and many who ask at once."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

import pytest

from tests.conftest import GateClient
from tests.kit import buy, sign_up
from tests.tokens.kit import bought, keeper
from zenzefi.errors import DatabaseUnavailable, RateLimited, TokenInvalid, Unavailable
from zenzefi.keys import KEYRING
from zenzefi.middleware.peer import subscriber
from zenzefi.tokens import flights, floods, lookups, store
from zenzefi.tokens.access import Access
from zenzefi.tokens.flights import Flights
from zenzefi.tokens.floods import Guesses
from zenzefi.tokens.value import index, new_token


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
def test_a_whole_ipv6_network_is_one_asker(address: str, network: str) -> None:
    assert subscriber(address) == network


def test_the_count_begins_anew_after_a_minute() -> None:
    guesses = Guesses()
    for _ in range(floods.MAX_UNKNOWN):
        guesses.check("192.0.2.1", 0.0)
        guesses.count("192.0.2.1", 0.0)
    with pytest.raises(RateLimited) as refusal:
        guesses.check("192.0.2.1", 20.0)
    assert refusal.value.headers["Retry-After"] == "41"
    guesses.check("192.0.2.2", 20.0)
    guesses.check("192.0.2.1", 61.0)
    guesses.count("192.0.2.1", 61.0)
    guesses.check("192.0.2.1", 61.0)


async def test_a_flood_of_random_tokens_ends_in_429_and_slows_nobody_who_is_known(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = 0
    find = store.find

    async def counted(connection: object, indexes: list[bytes]) -> object:
        nonlocal asked
        asked += sum(one != known_one for one in indexes)
        return await find(connection, indexes)  # type: ignore[arg-type]

    token, _, _ = await bought(gate)
    known_one = index(gate.app[KEYRING], token)
    monkeypatch.setattr(store, "find", counted)
    path = "/api/v1/proxy/status"
    statuses: list[int] = []
    slowest = 0.0

    async def guess() -> None:
        for _ in range(40):
            async with gate.get(path, headers={"X-Access-Token": new_token()}) as response:
                statuses.append(response.status)
                if response.status == 429:
                    assert int(response.headers["Retry-After"]) > 0

    async def known() -> None:
        nonlocal slowest
        while len(statuses) < 400:
            started = time.perf_counter()
            async with gate.get(path, headers={"X-Access-Token": token}) as response:
                assert response.status == 200
            slowest = max(slowest, time.perf_counter() - started)

    await asyncio.gather(known(), *(guess() for _ in range(10)))
    assert set(statuses) == {401, 429}
    # Those that were under way together may pass the limit together, and no others.
    assert floods.MAX_UNKNOWN <= statuses.count(401) <= floods.MAX_UNKNOWN + 10
    assert asked <= floods.MAX_UNKNOWN + 10
    with capsys.disabled():
        print(f"\nthe slowest answer for a known token during the flood: {slowest * 1000:.0f} ms")


async def test_one_unknown_token_again_and_again_costs_one_look_up(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    find = store.find

    async def counted(connection: object, indexes: list[bytes]) -> object:
        nonlocal asked
        asked += 1
        return await find(connection, indexes)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "find", counted)
    token = new_token()

    async def ask() -> None:
        with pytest.raises(TokenInvalid):
            await keeper(gate).validate(token)

    await asyncio.gather(*(ask() for _ in range(100)))
    for _ in range(100):
        await ask()
    assert asked == 1


async def test_many_tokens_at_once_take_few_statements(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    bearer = await sign_up(gate)
    tokens = [(await buy(gate, bearer))["token"] for _ in range(60)]
    statements = 0
    find = store.find

    async def counted(connection: object, indexes: list[bytes]) -> object:
        nonlocal statements
        statements += 1
        return await find(connection, indexes)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "find", counted)
    found = await asyncio.gather(*(keeper(gate).validate(token) for token in tokens * 5))
    assert len(set(found)) == 60
    assert statements <= 4


# --- the look-ups themselves


ACCESS = Access(UUID(int=1), UUID(int=2), "full", 24)


async def test_look_ups_are_shared_batched_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "MAX_WAITING", 25)
    monkeypatch.setattr(flights, "BATCH", 10)
    go = asyncio.Event()
    batches: list[list[str]] = []

    async def look_up(tokens: list[str]) -> dict[str, Access | Exception]:
        batches.append(tokens)
        await go.wait()
        return {token: TokenInvalid() if token == "bad" else ACCESS for token in tokens}

    asked = Flights(look_up)
    names = ["bad", *map(str, range(24))]
    waiting = [asked.join(name) for name in names]
    assert asked.join("3") is asked.join("3")
    with pytest.raises(Unavailable):
        asked.join("one too many")
    await asyncio.sleep(0)
    go.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], TokenInvalid)
    assert answers[1:] == [ACCESS] * 24
    assert sorted(name for batch in batches for name in batch) == sorted(names)
    assert max(map(len, batches)) <= 10
    assert len(asked) == 0
    await asked.close()


async def test_whatever_goes_wrong_those_who_wait_hear_of_it() -> None:
    async def look_up(tokens: list[str]) -> dict[str, Access | Exception]:
        raise RuntimeError("a bug")

    asked = Flights(look_up)
    with pytest.raises(RuntimeError, match="a bug"):
        await asked.join("token")
    assert len(asked) == 0
    await asked.close()


async def test_a_database_that_hangs_is_waited_for_shortly_and_then_left_alone(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "PATIENCE", 0.2)
    monkeypatch.setattr(lookups, "PAUSE", 0.3)
    token = (await buy(gate, await sign_up(gate)))["token"]
    questions = 0
    find = store.find
    hanging = asyncio.Event()

    async def hangs(connection: object, indexes: list[bytes]) -> object:
        nonlocal questions
        questions += 1
        await hanging.wait()
        return await find(connection, indexes)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "find", hangs)
    for _ in range(20):
        with pytest.raises(DatabaseUnavailable):
            await keeper(gate).validate(token)
    assert questions == 1
    hanging.set()
    await asyncio.sleep(0.4)
    assert (await keeper(gate).validate(token)).duration_hours == 24

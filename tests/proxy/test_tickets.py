import asyncio
import time
from typing import Any

import pytest

from tests.kit.proxy_gates import TOKEN
from zenzefi.keys import Keyring
from zenzefi.proxy import tickets
from zenzefi.proxy.errors import SignInLinkInvalid
from zenzefi.proxy.tickets import SpentEverywhere, SpentInProcess, Tickets
from zenzefi.tokens.redis_cache import RedisCache

BROWSER = "b" * 64


def keys(name: str, *previous: Any) -> Any:
    return Keyring(name * 40, [one * 40 for one in previous])


async def test_of_many_uses_at_once_one_works() -> None:
    office = Tickets(keys("a"), SpentInProcess())
    ticket = office.issue(TOKEN, BROWSER)
    results = await asyncio.gather(
        *(office.redeem(ticket) for _ in range(20)), return_exceptions=True
    )
    assert [r for r in results if not isinstance(r, SignInLinkInvalid)] == [(TOKEN, BROWSER, None)]


async def test_a_ticket_works_once_on_all_nodes(redis_url: str) -> None:
    nodes = [RedisCache(redis_url) for _ in range(3)]
    offices = [Tickets(keys("a"), SpentEverywhere(redis_cache)) for redis_cache in nodes]
    ticket = offices[0].issue(TOKEN, BROWSER)
    results = await asyncio.gather(
        *(office.redeem(ticket) for office in offices), return_exceptions=True
    )
    assert len([r for r in results if not isinstance(r, SignInLinkInvalid)]) == 1
    for redis_cache in nodes:
        await redis_cache.close()


async def test_without_redis_a_node_remembers_spent_tickets(free_port: int) -> None:
    redis_cache = RedisCache(f"redis://127.0.0.1:{free_port}")
    office = Tickets(keys("a"), SpentEverywhere(redis_cache))
    ticket = office.issue(TOKEN, BROWSER)
    assert (await office.redeem(ticket)).token == TOKEN
    with pytest.raises(SignInLinkInvalid):
        await office.redeem(ticket)
    await redis_cache.close()


async def test_a_ticket_survives_a_key_change_within_its_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = Tickets(keys("a"), SpentInProcess())
    new = Tickets(keys("b", "a"), SpentInProcess())
    assert (await new.redeem(old.issue(TOKEN, BROWSER))).token == TOKEN
    with pytest.raises(SignInLinkInvalid):
        await Tickets(keys("b"), SpentInProcess()).redeem(old.issue(TOKEN, BROWSER))
    ticket = new.issue(TOKEN, BROWSER)
    monkeypatch.setattr(tickets, "LIFE_SECONDS", -1)
    with pytest.raises(SignInLinkInvalid):
        await new.redeem(ticket)


async def test_a_ticket_lives_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock, not by the constant: a ticket in a log must be worth nothing soon."""
    office = Tickets(keys("a"), SpentInProcess())
    for age, is_good in ((0, True), (59, True), (62, False), (3600, False), (86_000, False)):
        ticket = office.issue(TOKEN, BROWSER)
        now = time.time()
        with monkeypatch.context() as later:
            later.setattr(time, "time", lambda now=now, age=age: now + age)
            if is_good:
                assert (await office.redeem(ticket)).token == TOKEN
            else:
                with pytest.raises(SignInLinkInvalid):
                    await office.redeem(ticket)


async def test_the_memory_of_spent_tickets_is_bounded() -> None:
    memory = SpentInProcess(max_spent=10)
    for i in range(50):
        assert await memory.spend(str(i), 60)
    assert len(memory._spent) <= 10
    assert not await memory.spend("49", 60)

"""Rate limits: counting per key, waiting times, headers, and counting while Redis is down."""

import asyncio
import contextlib
import time
from typing import Any

import pytest

from zenzefi.errors import RateLimited
from zenzefi.observability.metrics import RATE_LIMIT_FAILURES
from zenzefi.rate_limits.limiter import RateLimits
from zenzefi.rate_limits.memory import MemoryStorage
from zenzefi.settings import Settings, load_settings


def settings(**overrides: object) -> Settings:
    return load_settings({"debug": True, "secret_key": "x", **overrides})


@pytest.fixture(params=["memory", "redis"])
def limits_on(request: pytest.FixtureRequest) -> dict[str, object]:
    if request.param == "memory":
        return {}
    return {"redis_url": request.getfixturevalue("redis_url")}


async def test_a_use_beyond_the_limit_is_rejected_with_retry_after(
    limits_on: dict[str, object],
) -> None:
    limits = RateLimits(settings(rate_limit_login="3/hour", **limits_on))
    quotas = [await limits.hit("login", "10.0.0.1") for _ in range(3)]
    assert [s.remaining for s in quotas if s] == [2, 1, 0]
    with pytest.raises(RateLimited) as refused:
        await limits.hit("login", "10.0.0.1")
    assert 1 <= int(refused.value.headers["Retry-After"]) <= 7200
    assert await limits.hit("login", "10.0.0.2") is not None
    await limits.close()


async def test_the_quota_is_reported_in_ratelimit_headers(limits_on: dict[str, object]) -> None:
    limits = RateLimits(settings(rate_limit_api="120/minute;1000/hour", **limits_on))
    quota = await limits.hit("api", "user")
    assert quota is not None
    headers = quota.headers()
    assert headers["RateLimit-Policy"] == '"api";q=120;w=60'
    assert headers["RateLimit"].startswith('"api";r=119;t=')
    await limits.close()


async def test_a_limit_that_is_off_counts_nothing() -> None:
    limits = RateLimits(settings(rate_limit_api="off"))
    assert [await limits.hit("api", "user") for _ in range(500)] == [None] * 500


async def test_a_reloaded_rate_takes_effect_immediately() -> None:
    changing = settings(rate_limit_api="1/hour")
    limits = RateLimits(changing)
    await limits.hit("api", "user")
    with pytest.raises(RateLimited):
        await limits.hit("api", "user")
    changing.rate_limit_api = "10/hour"
    assert await limits.hit("api", "user") is not None


async def test_the_process_counts_alone_while_redis_is_down() -> None:
    limits = RateLimits(settings(rate_limit_login="5/hour", redis_url="redis://127.0.0.1:1"))
    before = RATE_LIMIT_FAILURES._value.get()
    started = time.monotonic()
    within = 0
    for _ in range(20):
        with contextlib.suppress(RateLimited):
            await limits.hit("login", "10.0.0.1")
            within += 1
    assert within == 5
    assert await limits.hit("login", "10.0.0.2") is not None
    await limits.give_back("login", "10.0.0.1")
    await limits.hit("login", "10.0.0.1")
    assert time.monotonic() - started < 10
    assert RATE_LIMIT_FAILURES._value.get() == before + 22
    await limits.close()


async def test_concurrent_uses_do_not_exceed_the_limit(
    limits_on: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "zenzefi.rate_limits.limiter._TIMEOUT", 10.0
    )  # a busy machine is not a failure
    nodes = [RateLimits(settings(rate_limit_code="10/15 minutes", **limits_on)) for _ in range(2)]
    nodes = nodes if limits_on else nodes[:1]  # without Redis there is one process
    hits = [node.hit("code", "key") for node in nodes for _ in range(40)]
    results = await asyncio.gather(*hits, return_exceptions=True)
    assert sum(not isinstance(one, RateLimited) for one in results) == 10
    for _ in range(4):
        await nodes[0].give_back("code", "key")
    hits = [node.hit("code", "key") for node in nodes for _ in range(40)]
    results = await asyncio.gather(*hits, return_exceptions=True)
    assert sum(not isinstance(one, RateLimited) for one in results) == 4
    for node in nodes:
        await node.close()


@pytest.mark.parametrize(
    ("given", "name", "windows"),
    [
        ({"rate_limit_login": "10/minute"}, "login_account", [(100, 60)]),
        ({"rate_limit_login": "4/minute;9/hour"}, "login_address", [(40, 60), (90, 3600)]),
        ({"rate_limit_login": "off"}, "login_account", []),
        (
            {"rate_limit_login": "off", "rate_limit_login_account": "7/hour"},
            "login_account",
            [(7, 3600)],
        ),
        ({"rate_limit_login_address": "off"}, "login_address", []),
        ({}, "code", [(10, 900)]),
        ({}, "code_account", [(30, 900)]),
    ],
)
def test_a_wide_limit_defaults_to_a_multiple_of_the_tight_one(
    given: dict[str, str], name: Any, windows: list[tuple[int, int]]
) -> None:
    rates = RateLimits(settings(**given)).rates(name)
    assert [(rate.amount, rate.get_expiry()) for rate in rates] == windows


async def test_a_window_slides(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 6000.0
    monkeypatch.setattr("zenzefi.rate_limits.memory.time.time", lambda: now)
    memory = MemoryStorage()
    assert [await memory.acquire_sliding_window_entry("k", 10, 60) for _ in range(11)].count(
        True
    ) == 10
    now = 6060.0  # the next window begins: the previous one weighs in full
    assert not await memory.acquire_sliding_window_entry("k", 10, 60)
    now = 6090.0  # half of it has slid out
    assert [await memory.acquire_sliding_window_entry("k", 10, 60) for _ in range(6)].count(
        True
    ) == 5
    now = 6300.0  # all of it
    assert await memory.get_sliding_window("k", 60) == (0, 60, 0, 120)


async def test_the_number_of_counters_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zenzefi.rate_limits.memory._CAPACITY", 100)
    memory = MemoryStorage()
    for number in range(500):
        await memory.acquire_sliding_window_entry(str(number), 10, 60)
    assert len(memory._windows) == 100


async def test_a_fixed_window_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 6000.0
    monkeypatch.setattr("zenzefi.rate_limits.memory.time.time", lambda: now)
    memory = MemoryStorage()
    assert [await memory.incr("k", 60), await memory.incr("k", 60, 2)] == [1, 3]
    now = 6010.0
    assert (await memory.get("k"), await memory.get_expiry("k")) == (3, 6060.0)
    now = 6060.0
    assert (await memory.get("k"), await memory.get_expiry("k")) == (0, 6120.0)
    await memory.clear("k")
    assert (await memory.get("k"), await memory.reset()) == (0, 0)

"""Rate limits, counted in Redis for all nodes or, without Redis, in this process.

While Redis is unavailable, each process counts alone (metric ``rate_limit_failures_total``). The
limits are then wider by the number of processes: guessing stays slow, and no user is locked out
because Redis failed.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from limits import RateLimitItem, parse_many
from limits.aio.storage import RedisStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from zenzefi.deadline import Deadline
from zenzefi.errors import RateLimited
from zenzefi.observability.metrics import RATE_LIMIT_FAILURES, RATE_LIMITED
from zenzefi.rate_limits.memory import MemoryStorage
from zenzefi.settings import Settings

log = logging.getLogger(__name__)

Name = Literal[
    "login",
    "login_network",
    "login_address",
    "login_account",
    "code",
    "code_network",
    "code_account",
    "register",
    "api",
    "api_key",
    "release",
    "proxy",
    "websocket_messages",
    "websocket_bytes",
]
_MULTIPLES: dict[str, tuple[Name, int]] = {
    "login_network": ("login", 3),
    "login_address": ("login", 10),
    "login_account": ("login", 10),
    "code_network": ("code", 2),
    "code_account": ("code", 3),
}
"""Limits that default to a multiple of another one. Those per network have no setting."""
_TIMEOUT = 0.5  # seconds to wait for Redis
_LIBRARY_TIMEOUT = 30.0  # seconds after which the client library fails by itself
_PAUSE = 2.0  # seconds without Redis after a failure, so that it does not slow every request


@dataclass(frozen=True, slots=True)
class Quota:
    """The uses that a client has left of a limit, in the tightest of its windows.

    ``window`` and ``reset`` are in seconds.
    """

    name: Name
    limit: int
    window: int
    remaining: int
    reset: int

    def headers(self) -> dict[str, str]:
        """``RateLimit`` and ``RateLimit-Policy`` (draft-ietf-httpapi-ratelimit-headers)."""
        return {
            "RateLimit-Policy": f'"{self.name}";q={self.limit};w={self.window}',
            "RateLimit": f'"{self.name}";r={self.remaining};t={self.reset}',
        }


class RateLimits:
    """All limits of one gate.

    The rates are read from the settings for each use, so a reload changes them.
    """

    def __init__(self, settings: Settings, storage: Storage | None = None) -> None:
        self._settings = settings
        self._storage = storage or _storage(settings)
        failures = self._storage.base_exceptions
        self._failures: tuple[type[BaseException], ...] = (
            *(failures if isinstance(failures, tuple) else (failures,)),
            OSError,
            TimeoutError,
        )
        self._counter = SlidingWindowCounterRateLimiter(self._storage)
        self._local = SlidingWindowCounterRateLimiter(MemoryStorage())  # while Redis is down
        self._parsed: dict[tuple[str, int], list[RateLimitItem]] = {}
        self._down_until = 0.0

    def rates(self, name: Name) -> list[RateLimitItem]:
        """The windows of one limit; an empty list if it is off."""
        text: str | None = getattr(self._settings, f"rate_limit_{name}", None)
        factor = 1
        if text is None:
            followed, factor = _MULTIPLES[name]
            text = str(getattr(self._settings, f"rate_limit_{followed}"))
        key = text, factor
        if key not in self._parsed:
            rates = [] if text == "off" else parse_many(text)
            self._parsed[key] = [type(rate)(rate.amount * factor, rate.multiples) for rate in rates]
        return self._parsed[key]

    async def hit(self, name: Name, *key: str, cost: int = 1) -> Quota | None:
        """Count ``cost`` uses under ``key``; ``None`` if the limit is off.

        The count and the check are one atomic step over all nodes, so concurrent uses do not exceed
        the limit. Call it before the work, not after it.

        Raises :class:`RateLimited` if the limit is exceeded.
        """
        rates = self.rates(name)
        if not rates:
            return None
        if time.monotonic() >= self._down_until:
            try:
                async with Deadline(_TIMEOUT):
                    return await self._hit(self._counter, name, rates, key, cost)
            except self._failures as error:
                if time.monotonic() >= self._down_until:  # log once per failure
                    log.warning(
                        "rate limits: Redis unavailable, counting in this process: error=%s",
                        type(error).__name__,
                    )
                self._down_until = time.monotonic() + _PAUSE
        RATE_LIMIT_FAILURES.inc()
        return await self._hit(self._local, name, rates, key, cost)

    @property
    def is_local(self) -> bool:
        """Whether this process counts alone, so that :meth:`hit_now` may be used."""
        return isinstance(self._storage, MemoryStorage)

    def hit_now(self, name: Name, *key: str) -> None:
        """Count one use in this process, without waiting. Raises as :meth:`hit`."""
        rates = self.rates(name)
        counting = self._hit(self._counter, name, rates, key, 1)
        try:
            counting.send(None)
        except StopIteration:
            return
        finally:
            counting.close()
        raise RuntimeError("these counters are not in this process")

    async def give_back(self, name: Name, *key: str) -> None:
        """Uncount one use under ``key``, for example of an attempt that succeeded."""
        for rate in self.rates(name):
            if time.monotonic() < self._down_until:
                await self._local.hit(rate, name, *key, cost=-1)
                continue
            try:
                async with Deadline(_TIMEOUT):
                    await self._counter.hit(rate, name, *key, cost=-1)
            except self._failures:
                self._down_until = time.monotonic() + _PAUSE  # the use stays counted

    async def _hit(
        self,
        counter: SlidingWindowCounterRateLimiter,
        name: Name,
        rates: list[RateLimitItem],
        key: tuple[str, ...],
        cost: int,
    ) -> Quota | None:
        tightest: Quota | None = None
        for rate in rates:
            within = await counter.hit(rate, name, *key, cost=cost)
            stats = await counter.get_window_stats(rate, name, *key)
            reset = max(1, math.ceil(stats.reset_time - time.time()))
            quota = Quota(name, rate.amount, rate.get_expiry(), stats.remaining, reset)
            if not within:
                RATE_LIMITED.labels(name).inc()
                error = RateLimited(reset)
                error.headers.update(quota.headers())
                raise error
            if tightest is None or quota.remaining < tightest.remaining:
                tightest = quota
        return tightest

    async def close(self) -> None:
        """Close the connections to Redis."""
        if isinstance(self._storage, RedisStorage):
            await self._storage.bridge.storage.aclose()  # type: ignore[attr-defined]  # untyped


def _storage(settings: Settings) -> Storage:
    dsn = settings.redis_dsn
    if dsn is None:
        return MemoryStorage()
    return RedisStorage(
        dsn,
        implementation="redispy",
        key_prefix="zenzefi:limit",
        # hit() has a shorter deadline, which ignores pauses of the event loop.
        socket_timeout=_LIBRARY_TIMEOUT,
        socket_connect_timeout=_LIBRARY_TIMEOUT,
    )


LIMITS: web.AppKey[RateLimits] = web.AppKey("rate_limits", RateLimits)

"""Rate limits: how often something may be done, counted in Redis or, without it, in this process.

While Redis does not respond, each process counts for itself (a metric tells): limits get wider by
the number of processes, but guessing stays slow and nobody is locked out. This is the one place
that decides so.
"""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from limits import RateLimitItem, parse_many
from limits.aio.storage import RedisStorage, Storage
from limits.aio.storage.base import SlidingWindowCounterSupport
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from zenzefi.deadline import Deadline
from zenzefi.errors import RateLimited
from zenzefi.observability.metrics import RATE_LIMIT_FAILURES, RATE_LIMITED
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
"""Limits that follow another one unless they are set (those of a network are no setting): which
one, and how many times as wide."""
_BOUND = 50_000  # counters of this process; beyond it the one unused for longest goes
_PATIENCE = 0.5  # seconds to wait for Redis
_LAST_RESORT = 30.0  # seconds after which the client library gives up
_PAUSE = 2.0  # seconds without Redis after it failed: a dead one must not slow every request


class BoundedMemory(Storage, SlidingWindowCounterSupport):
    """Sliding windows in this process, as ``limits`` counts them: two counters per key, weighted.

    Unlike the library's own memory store it has a bound and starts no tasks.
    """

    def __init__(self) -> None:
        super().__init__()
        # key -> (number of the current window, count before it, count in it)
        self._windows: OrderedDict[str, tuple[int, int, int]] = OrderedDict()

    def _now(self, key: str, expiry: int) -> tuple[int, int, float]:
        """Counts of the previous and the current window, and how much of the latter is left."""
        current, passed = divmod(time.time(), expiry)
        window, before, count = self._windows.get(key, (0, 0, 0))
        if window == current - 1:
            before, count = count, 0
        elif window != current:
            before = count = 0
        return before, count, expiry - passed

    async def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Count ``amount`` if that stays within ``limit``."""
        before, count, left = self._now(key, expiry)
        if before * left / expiry + count + amount > limit:
            return False
        self._windows[key] = (int(time.time() // expiry), before, max(0, count + amount))
        self._windows.move_to_end(key)
        if len(self._windows) > _BOUND:
            self._windows.popitem(last=False)
        return True

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Previous count, seconds it still weighs, current count, seconds it lives."""
        before, count, left = self._now(key, expiry)
        return before, left, count, left + expiry

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget one key."""
        self._windows.pop(key, None)

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """What it raises: nothing."""
        return ()

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Fixed windows are not used here."""
        raise NotImplementedError

    async def get(self, key: str) -> int:
        """Fixed windows are not used here."""
        raise NotImplementedError

    async def get_expiry(self, key: str) -> float:
        """Fixed windows are not used here."""
        raise NotImplementedError

    async def check(self) -> bool:
        """It is always there."""
        return True

    async def reset(self) -> int | None:
        """Forget everything."""
        count = len(self._windows)
        self._windows.clear()
        return count

    async def clear(self, key: str) -> None:
        """Forget one key."""
        self._windows.pop(key, None)


@dataclass(frozen=True, slots=True)
class Standing:
    """How one asker stands with the tightest of a limit's windows."""

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
    """All limits of one gate. The rates are read from the settings at each use: SIGHUP changes
    them."""

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
        self._alone = SlidingWindowCounterRateLimiter(BoundedMemory())  # while Redis is away
        self._parsed: dict[tuple[str, int], list[RateLimitItem]] = {}
        self._away_until = 0.0

    def rates(self, name: Name) -> list[RateLimitItem]:
        """The windows of one limit; none when it is off."""
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

    async def hit(self, name: Name, *who: str, cost: int = 1) -> Standing | None:
        """Count ``cost`` uses by ``who``. Raises :class:`RateLimited` when they are too many.

        One atomic step, also over several nodes: of many uses at once no more than the limit
        succeed. Count before the work is done, never after. ``None``: there is no such limit.
        """
        rates = self.rates(name)
        if not rates:
            return None
        if time.monotonic() >= self._away_until:
            try:
                async with Deadline(_PATIENCE):
                    return await self._hit(self._counter, name, rates, who, cost)
            except self._failures as error:
                if time.monotonic() >= self._away_until:  # else another one has said so
                    log.warning(
                        "rate limits: Redis unavailable, counting in this process: error=%s",
                        type(error).__name__,
                    )
                self._away_until = time.monotonic() + _PAUSE
        RATE_LIMIT_FAILURES.inc()
        return await self._hit(self._alone, name, rates, who, cost)

    async def give_back(self, name: Name, *who: str) -> None:
        """Take one use by ``who`` back: it turned out to be one that need not be limited."""
        for rate in self.rates(name):
            if time.monotonic() < self._away_until:
                await self._alone.hit(rate, name, *who, cost=-1)
                continue
            try:
                async with Deadline(_PATIENCE):
                    await self._counter.hit(rate, name, *who, cost=-1)
            except self._failures:
                self._away_until = time.monotonic() + _PAUSE  # it stays counted: the safe side

    async def _hit(
        self,
        counter: SlidingWindowCounterRateLimiter,
        name: Name,
        rates: list[RateLimitItem],
        who: tuple[str, ...],
        cost: int,
    ) -> Standing | None:
        tightest: Standing | None = None
        for rate in rates:
            within = await counter.hit(rate, name, *who, cost=cost)
            stats = await counter.get_window_stats(rate, name, *who)
            reset = max(1, math.ceil(stats.reset_time - time.time()))
            standing = Standing(name, rate.amount, rate.get_expiry(), stats.remaining, reset)
            if not within:
                RATE_LIMITED.labels(name).inc()
                refusal = RateLimited(reset)
                refusal.headers.update(standing.headers())
                raise refusal
            if tightest is None or standing.remaining < tightest.remaining:
                tightest = standing
        return tightest

    async def close(self) -> None:
        """Give the connections back."""
        if isinstance(self._storage, RedisStorage):
            await self._storage.bridge.storage.aclose()  # type: ignore[attr-defined]  # untyped


def _storage(settings: Settings) -> Storage:
    dsn = settings.redis_dsn
    if dsn is None:
        return BoundedMemory()
    return RedisStorage(
        dsn,
        implementation="redispy",
        key_prefix="zenzefi:limit",
        # hit() gives up sooner, by a deadline that a pause of the event loop does not use up.
        socket_timeout=_LAST_RESORT,
        socket_connect_timeout=_LAST_RESORT,
    )


LIMITS: web.AppKey[RateLimits] = web.AppKey("rate_limits", RateLimits)

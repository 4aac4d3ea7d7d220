"""Rate limit counters in this process: used without Redis, and while Redis is unavailable."""

from __future__ import annotations

import time
from typing import NamedTuple

from limits.aio.storage import Storage
from limits.aio.storage.base import SlidingWindowCounterSupport

from zenzefi.bounded import BoundedDict

_CAPACITY = 50_000  # counters


class _Window(NamedTuple):
    """Counts of one key. ``number`` counts the windows of ``expiry`` seconds since the epoch."""

    number: int
    before: int
    used: int
    expiry: int

    def at(self, now: float) -> _Window:
        """These counts as seen at ``now``, when a later window may be the current one."""
        current = int(now // self.expiry)
        if self.number == current:
            return self
        before = self.used if self.number == current - 1 else 0
        return _Window(current, before, 0, self.expiry)

    def left(self, now: float) -> float:
        """Seconds until this window ends."""
        return (self.number + 1) * self.expiry - now


class MemoryStorage(Storage, SlidingWindowCounterSupport):
    """Sliding windows as the library ``limits`` defines them: two weighted counters per key.

    Unlike the library's own memory storage it is bounded (the least recently used counter is
    evicted) and starts no tasks. A fixed window is the current window of the sliding one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._windows: BoundedDict[str, _Window] = BoundedDict(_CAPACITY)

    def _window(self, key: str, expiry: int) -> _Window:
        return self._windows.get(key, _Window(0, 0, 0, expiry)).at(time.time())

    async def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Add ``amount`` if the count stays within ``limit``; return whether it does."""
        window = self._window(key, expiry)
        weighted = window.before * window.left(time.time()) / expiry
        if weighted + window.used + amount > limit:
            return False
        self._windows[key] = window._replace(used=max(0, window.used + amount))
        return True

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Previous count and its remaining seconds, current count and its remaining seconds."""
        window = self._window(key, expiry)
        left = window.left(time.time())
        return window.before, left, window.used, left + expiry

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        await self.clear(key)

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        window = self._window(key, int(expiry))
        self._windows[key] = window._replace(used=window.used + amount)
        return window.used + amount

    async def get(self, key: str) -> int:
        window = self._windows.get(key)
        return 0 if window is None else window.at(time.time()).used

    async def get_expiry(self, key: str) -> float:
        now = time.time()
        window = self._windows.get(key)
        return now if window is None else now + window.at(now).left(now)

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        return ()

    async def check(self) -> bool:
        return True

    async def reset(self) -> int | None:
        count = len(self._windows)
        self._windows.clear()
        return count

    async def clear(self, key: str) -> None:
        self._windows.pop(key, None)

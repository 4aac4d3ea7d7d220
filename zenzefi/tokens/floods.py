"""Who guesses tokens: unknown ones are counted per subscriber, and too many are refused."""

from __future__ import annotations

from collections import OrderedDict

from zenzefi.errors import RateLimited
from zenzefi.middleware.peer import subscriber
from zenzefi.ops.metrics import RATE_LIMITED

MAX_UNKNOWN = 120
"""Well-formed but unknown tokens per subscriber and minute; afterwards 429."""
MAX_SUBSCRIBERS = 10_000
_WINDOW = 60.0  # seconds


class Guesses:
    """Counts of unknown tokens, in memory. Times are the event loop's."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def check(self, address: str | None, now: float) -> None:
        """Raise :class:`RateLimited` while too many came from there within the minute."""
        if address is None:
            return
        known = self._counts.get(subscriber(address))
        if known is None or known[1] < MAX_UNKNOWN:
            return
        left = known[0] + _WINDOW - now
        if left > 0:
            RATE_LIMITED.labels("unknown_tokens").inc()
            raise RateLimited(int(left) + 1)

    def count(self, address: str | None, now: float) -> None:
        """One more unknown token from there."""
        if address is None:
            return
        who = subscriber(address)
        since, count = self._counts.pop(who, (now, 0))
        self._counts[who] = (now, 1) if now - since > _WINDOW else (since, count + 1)
        while len(self._counts) > MAX_SUBSCRIBERS:
            self._counts.popitem(last=False)

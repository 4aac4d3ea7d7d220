"""Who guesses tokens: unknown ones are counted per network, and too many are refused."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

from zenzefi.errors import RateLimited
from zenzefi.ops.metrics import RATE_LIMITED

MAX_UNKNOWN = 120
"""Well-formed but unknown tokens per network and minute; afterwards 429."""
MAX_NETWORKS = 10_000
_WINDOW = 60.0  # seconds


def network_of(address: str) -> str:
    """What counts as one asker: an IPv4 address, or the /64 that one IPv6 subscriber has.

    RFC 6177, section 2: nobody gets less, and everybody may use all of it.
    """
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.IPv6Network((parsed.packed[:8] + bytes(8), 64)).network_address)


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
        known = self._counts.get(network_of(address))
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
        network = network_of(address)
        since, count = self._counts.pop(network, (now, 0))
        self._counts[network] = (now, 1) if now - since > _WINDOW else (since, count + 1)
        while len(self._counts) > MAX_NETWORKS:
            self._counts.popitem(last=False)

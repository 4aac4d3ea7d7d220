"""Protection against guessed tokens: unknown tokens are counted per network.

Many users may share an address, so a network over its limit is not refused altogether. Its look-ups
wait in a queue that is processed one batch at a time, with all such networks in turn. Look-ups of
other networks are not affected. A valid token is accepted after a short delay; an unknown token is
refused with 429 instead of 401.

A look-up is counted before it is made, and uncounted when the token is known. So of many concurrent
look-ups no more than the limit are made.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from itertools import islice

from zenzefi.bounded import BoundedDict
from zenzefi.observability.metrics import RATE_LIMITED
from zenzefi.rate_limits.networks import rate_limit_network
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.errors import TooManyUnknownTokens
from zenzefi.tokens.single_flight import Results, resolve

MAX_UNKNOWN = 120
"""Well-formed but unknown tokens per network and minute. Further look-ups are queued."""
MAX_NETWORKS = 10_000
MAX_QUEUED = 1_000
"""Queued tokens of one network. Further ones are refused with 429, valid or not."""
MAX_QUEUED_IN_ALL = 20_000
BATCH = 500
"""Tokens in one look-up, shared among the queued networks."""
PAUSE = 0.02
"""Seconds between two look-ups of the queue. It bounds the share of the database's time."""
_WINDOW = 60.0  # seconds


class UnknownTokenLimiter:
    """Counts unknown tokens per network in memory. Times are those of the event loop."""

    def __init__(self) -> None:
        self._counts: BoundedDict[str, tuple[float, int]] = BoundedDict(MAX_NETWORKS)

    def __len__(self) -> int:
        return len(self._counts)

    def reserve(self, address: str | None, now: float) -> bool:
        """Count one token from ``address`` as unknown; whether that is within the limit.

        Beyond the limit nothing is counted. Without an address there is no limit.
        """
        if address is None:
            return True
        network = rate_limit_network(address)
        since, count = self._counts.get(network, (now, 0))
        if now - since > _WINDOW:
            since, count = now, 0
        is_within = count < MAX_UNKNOWN
        self._counts[network] = since, count + is_within
        return is_within

    def release(self, address: str | None) -> None:
        """Uncount a reserved token, because it was not unknown."""
        if address is None:
            return
        network = rate_limit_network(address)
        counted = self._counts.get(network)
        if counted is not None:
            self._counts[network] = counted[0], max(0, counted[1] - 1)

    def refusal(self, address: str | None, now: float) -> TooManyUnknownTokens:
        """The error for an unknown token from a network over its limit, with the time to wait."""
        RATE_LIMITED.labels("unknown_tokens").inc()
        since, _ = self._counts.get(rate_limit_network(address or ""), (now, 0))
        return TooManyUnknownTokens(int(max(0.0, since + _WINDOW - now)) + 1)


class LookupQueue:
    """Look-ups for networks over their limit: one batch at a time, with the networks in turn.

    ``look_up`` gets a batch of tokens and must end in bounded time.
    """

    def __init__(self, look_up: Callable[[list[str]], Awaitable[Results[TokenAccess]]]) -> None:
        self._look_up = look_up
        self._futures: dict[str, asyncio.Future[TokenAccess]] = {}
        self._by_network: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._futures)

    def join(self, token: str, address: str) -> asyncio.Future[TokenAccess] | None:
        """The future of this token's look-up; ``None`` if the queue of its network is full.

        The future is shared: await it through ``asyncio.shield``.
        """
        future = self._futures.get(token)
        if future is not None:
            return future
        network = rate_limit_network(address)
        queue = self._by_network.get(network)
        if queue is not None and len(queue) >= MAX_QUEUED:
            return None
        if len(self._futures) >= MAX_QUEUED_IN_ALL:
            return None
        future = self._futures[token] = asyncio.get_running_loop().create_future()
        # All waiting callers may be cancelled; asyncio would log an error never retrieved.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._by_network.setdefault(network, OrderedDict())[token] = None
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name="queued token look-ups")
        return future

    def _batch(self) -> list[str]:
        """The next tokens, with an equal share for each network that has enough of them."""
        networks = list(islice(self._by_network, BATCH))
        share = max(1, BATCH // len(networks))
        tokens: list[str] = []
        for network in networks:
            queue = self._by_network[network]
            for token in list(islice(queue, share)):
                del queue[token]
                tokens.append(token)
            if queue:
                self._by_network.move_to_end(network)
            else:
                del self._by_network[network]
        return tokens

    async def _work(self) -> None:
        while self._by_network:
            tokens = self._batch()
            await resolve(self._look_up, tokens, self._futures)
            await asyncio.sleep(PAUSE)

    async def close(self) -> None:
        """Wait for the look-up in progress and cancel the queued ones."""
        self._by_network.clear()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        for future in self._futures.values():
            future.cancel()
        self._futures.clear()

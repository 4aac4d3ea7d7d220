"""Unknown tokens are counted per network; a network with too many of them has to queue.

Many people share an address, so a network over its limit is not refused as a whole. Its look-ups
go one batch at a time, all such networks in turn, while everybody else's go on as before. Whoever
sent a good token gets in, a moment later; an unknown one gets 429 in the place of 401.

Counting comes first: a look-up is reserved before it is made and given back when the token was not
an unknown one, so that of many at once no more than the limit get past.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from itertools import islice

from zenzefi.observability.metrics import RATE_LIMITED
from zenzefi.rate_limits.networks import rate_limit_network
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.errors import TooManyUnknownTokens
from zenzefi.tokens.single_flight import Results, answer_all

MAX_UNKNOWN = 120
"""Well-formed but unknown tokens per network and minute; with more, its look-ups queue."""
MAX_SUBSCRIBERS = 10_000
MAX_QUEUED = 1_000
"""Tokens of one network that wait at a time; the next one is told 429, whatever it is."""
MAX_QUEUED_IN_ALL = 20_000
BATCH = 500
"""Tokens in one look-up, shared among the networks that queue."""
PAUSE = 0.02
"""Seconds between two look-ups of the queue: what a flood may take of the database's time."""
_WINDOW = 60.0  # seconds


class UnknownTokenLimiter:
    """Counts of unknown tokens, in memory. Times are the event loop's."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def reserve(self, address: str | None, now: float) -> bool:
        """Count one token from there as unknown until it turns out to be known.

        Whether that is within the limit; beyond it nothing is counted.
        """
        if address is None:
            return True
        who = rate_limit_network(address)
        since, count = self._counts.pop(who, (now, 0))
        if now - since > _WINDOW:
            since, count = now, 0
        is_within = count < MAX_UNKNOWN
        self._counts[who] = since, count + is_within
        while len(self._counts) > MAX_SUBSCRIBERS:
            self._counts.popitem(last=False)
        return is_within

    def give_back(self, address: str | None) -> None:
        """A reserved token was not an unknown one."""
        if address is None:
            return
        who = rate_limit_network(address)
        counted = self._counts.get(who)
        if counted is not None:
            self._counts[who] = counted[0], max(0, counted[1] - 1)

    def refusal(self, address: str | None, now: float) -> TooManyUnknownTokens:
        """What an unknown token from a network over its limit gets: 429 and the time to wait."""
        RATE_LIMITED.labels("unknown_tokens").inc()
        since, _ = self._counts.get(rate_limit_network(address or ""), (now, 0))
        return TooManyUnknownTokens(int(max(0.0, since + _WINDOW - now)) + 1)


class Queue:
    """Look-ups for networks over their limit: batched, one batch at a time, the networks in turn.

    ``look_up`` answers many tokens and never takes for ever.
    """

    def __init__(self, look_up: Callable[[list[str]], Awaitable[Results[TokenAccess]]]) -> None:
        self._look_up = look_up
        self._answers: dict[str, asyncio.Future[TokenAccess]] = {}
        self._waiting: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._answers)

    def join(self, token: str, address: str) -> asyncio.Future[TokenAccess] | None:
        """The answer for this token, when its turn comes. Not to be cancelled: others may wait too.

        ``None``: too many of that network wait already.
        """
        answer = self._answers.get(token)
        if answer is not None:
            return answer
        who = rate_limit_network(address)
        queue = self._waiting.get(who)
        if queue is not None and len(queue) >= MAX_QUEUED:
            return None
        if len(self._answers) >= MAX_QUEUED_IN_ALL:
            return None
        answer = self._answers[token] = asyncio.get_running_loop().create_future()
        # Everybody who asked may have given up by then.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._waiting.setdefault(who, OrderedDict())[token] = None
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name="queued token look-ups")
        return answer

    def _batch(self) -> list[str]:
        """The next tokens: as many from each network as from any other, as long as it has some."""
        networks = list(islice(self._waiting, BATCH))
        share = max(1, BATCH // len(networks))
        tokens: list[str] = []
        for network in networks:
            queue = self._waiting[network]
            for token in list(islice(queue, share)):
                del queue[token]
                tokens.append(token)
            if queue:
                self._waiting.move_to_end(network)
            else:
                del self._waiting[network]
        return tokens

    async def _work(self) -> None:
        while self._waiting:
            tokens = self._batch()
            await answer_all(self._look_up, tokens, self._answers)
            await asyncio.sleep(PAUSE)

    async def close(self) -> None:
        """Wait for what is under way; what has not been looked up is cancelled."""
        self._waiting.clear()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        for answer in self._answers.values():
            answer.cancel()
        self._answers.clear()

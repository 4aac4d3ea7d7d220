"""Word of ends: what has ended on one node is told to all of them.

What Redis can't take is kept in its order and told when it is back. Word travels on the channel;
a *tombstone* in place of the token's entry speaks to those who did not listen.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from zenzefi.tokens.redis_cache import RedisCache

MAX_UNSENT = 10_000
_AGAIN = 0.5  # seconds between tries to send what could not be sent
KINDS = frozenset(("token", "user", "session", "device", "sign_in", "restored"))


@dataclass(frozen=True, slots=True)
class InvalidationMessage:
    """Word of an end. ``reason`` is told to what is closed.

    ``kind``: ``token``, ``user``, ``session`` (of use), ``device`` (released: what is open under
    the token ends, the token stays good), ``sign_in`` (of one browser: the token stays good for
    others), or ``restored`` (a user who may come in again).
    """

    kind: str
    id: UUID
    reason: str

    def to_json(self) -> str:
        """As it is published."""
        return json.dumps({"kind": self.kind, "id": str(self.id), "reason": self.reason})

    @classmethod
    def from_json(cls, raw: bytes | str) -> InvalidationMessage | None:
        """What another node published; ``None`` for anything else on the channel."""
        try:
            value = json.loads(raw)
            ended = cls(str(value["kind"]), UUID(value["id"]), str(value["reason"])[:100])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return ended if ended.kind in KINDS else None


@dataclass(frozen=True, slots=True)
class _Word:
    ended: InvalidationMessage
    tokens: list[str]


class InvalidationChannel:
    """Tells the other nodes, in order, and hears them."""

    def __init__(
        self,
        redis_cache: RedisCache | None,
        heard: Callable[[InvalidationMessage], None],
        live: Callable[[bool], None],
    ) -> None:
        self._redis_cache = redis_cache
        self._heard = heard
        self._live = live
        self._unsent: deque[_Word] = deque()
        self._unburied: deque[_Word] = deque()  # told, but Redis refused the tombstones
        self._sending = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._unsent) + len(self._unburied)

    async def announce(self, ended: InvalidationMessage, tokens: list[str]) -> None:
        """Tell all nodes, now or as soon as Redis takes it."""
        if self._redis_cache is None:
            return
        if ended.kind in ("token", "user", "restored"):
            # Later word replaces earlier word: a tombstone must not come after the restoring.
            for queue in (self._unsent, self._unburied):
                for word in [word for word in queue if word.ended.id == ended.id]:
                    queue.remove(word)
        _append(self._unsent, _Word(ended, tokens))
        if not self._sending.locked():  # else whoever sends now takes this along
            await self._send(self._redis_cache)

    async def _send(self, redis_cache: RedisCache) -> None:
        async with self._sending:
            while self._unsent:
                word = self._unsent[0]
                is_published, is_buried = await redis_cache.announce(word.ended, word.tokens)
                if not is_published:
                    return
                if self._unsent and self._unsent[0] is word:  # else it was replaced meanwhile
                    self._unsent.popleft()
                    if not is_buried:  # Redis is read-only or full
                        _append(self._unburied, word)

    async def _send_again(self, redis_cache: RedisCache) -> None:
        while True:
            await asyncio.sleep(_AGAIN)
            if self._unsent and not self._sending.locked():
                await self._send(redis_cache)
            while self._unburied:
                word = self._unburied[0]
                if not await redis_cache.bury(word.ended, word.tokens):
                    break
                if self._unburied and self._unburied[0] is word:
                    self._unburied.popleft()

    def work(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """What has to run, by name: listening, and sending what is left."""
        if self._redis_cache is None:
            return []
        return [
            ("ends of tokens", self._redis_cache.listen(self._heard, self._live)),
            ("unsent ends", self._send_again(self._redis_cache)),
        ]


def _append(queue: deque[_Word], word: _Word) -> None:
    queue.append(word)
    while len(queue) > MAX_UNSENT:
        queue.popleft()  # the database knows it, and is asked within seconds

"""A bounded memory of finished rewritten bodies, so that a style sheet is compressed only once."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple


class Key(NamedTuple):
    """What a finished body depends on."""

    url: str
    validator: str
    """The upstream's strong ETag with its Content-Length."""
    plugins: str
    """Plugin set, mount and upstream, digested."""
    coding: str
    destination: str


class ResultCache:
    """Least recently used bodies go first; ``limit`` bounds the sum of their sizes in bytes."""

    def __init__(self, limit: int = 8 * 1024 * 1024, largest: int = 1024 * 1024) -> None:
        self._limit = limit
        self.largest = min(largest, limit)
        self._bodies: OrderedDict[Key, bytes] = OrderedDict()
        self.size = 0
        self.hits = 0
        self.misses = 0

    def get(self, key: Key) -> bytes | None:
        """The finished body, or ``None``."""
        body = self._bodies.get(key)
        if body is None:
            self.misses += 1
            return None
        self.hits += 1
        self._bodies.move_to_end(key)
        return body

    def put(self, key: Key, body: bytes) -> None:
        """Remember it, if it is not too large to be worth it."""
        if len(body) > self.largest:
            return
        self.size += len(body) - len(self._bodies.pop(key, b""))
        self._bodies[key] = body
        while self.size > self._limit:
            _, old = self._bodies.popitem(last=False)
            self.size -= len(old)

    def __len__(self) -> int:
        return len(self._bodies)

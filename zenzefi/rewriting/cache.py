"""A bounded cache of rewritten bodies, so that a style sheet is compressed only once.

The key of a body is a digest of its encoded source bytes and of everything else that it depends on.
A user never gets a body made from another response, even if the upstream's validators are wrong: a
cached body is equal to rewriting the same bytes again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple


class Key(NamedTuple):
    """Which response it is, as far as its head tells."""

    url: str
    validator: str
    """The upstream's strong ETag."""
    length: int
    """Bytes of the encoded body, as ``Content-Length`` says."""
    depends: str
    """A digest of everything beside the body that the result depends on."""


class CachedResult(NamedTuple):
    """A finished body, and the digest of the bytes it was made from."""

    source: bytes
    body: bytes


class ResultCache:
    """Least recently used bodies go first; ``limit`` bounds the sum of their sizes in bytes."""

    def __init__(self, limit: int = 8 * 1024 * 1024, largest: int = 1024 * 1024) -> None:
        self._limit = limit
        self.largest = min(largest, limit)
        self._results: OrderedDict[Key, CachedResult] = OrderedDict()
        self.size = 0
        self.hits = 0
        self.misses = 0

    def get(self, key: Key) -> CachedResult | None:
        """What the last response with this key became, or ``None``."""
        result = self._results.get(key)
        if result is not None:
            self._results.move_to_end(key)
        return result

    def put(self, key: Key, result: CachedResult) -> None:
        """Remember it, if it is not too large to be worth it."""
        if len(result.body) > self.largest:
            return
        old = self._results.pop(key, None)
        self.size += len(result.body) - (len(old.body) if old else 0)
        self._results[key] = result
        while self.size > self._limit:
            _, oldest = self._results.popitem(last=False)
            self.size -= len(oldest.body)

    def __len__(self) -> int:
        return len(self._results)


class Recall:
    """The cache in the course of one response: its encoded bytes pass here first.

    Where a result is known for the response's key, the bytes are held back (at most
    :attr:`ResultCache.largest`) until all have come and the digest tells. ``is_sound`` says at the
    end whether the body that was made may be kept.
    """

    def __init__(self, cache: ResultCache, key: Key, is_sound: Callable[[], bool]) -> None:
        self._cache = cache
        self._key = key
        self._is_sound = is_sound
        self._digest = hashlib.blake2b(digest_size=32)
        self._taken = 0
        self._known = cache.get(key)
        cache.misses += self._known is None
        self._held: list[bytes] = []
        self.found: bytes | None = None
        """The finished body, once all bytes have come and it is the right one."""

    @property
    def largest(self) -> int:
        """Bytes of the longest body that is kept."""
        return self._cache.largest

    def take(self, data: bytes) -> bytes:
        """What is to be rewritten now; nothing while it may turn out to be known."""
        self._digest.update(data)
        self._taken += len(data)
        if self._known is None:
            return data
        self._held.append(data)
        self.found = None
        if self._taken < self._key.length:
            return b""
        if self._taken == self._key.length and self._known.source == self._digest.digest():
            self.found = self._known.body
            self._cache.hits += 1
            return b""
        return self._released()

    def _released(self) -> bytes:
        data = b"".join(self._held)
        self._held.clear()
        self._cache.misses += self._known is not None
        self._known = None
        return data

    def rest(self) -> bytes:
        """What is still held back when the body ended early."""
        return b"" if self.found is not None else self._released()

    def keep(self, body: bytes) -> None:
        """The body that was made, unless something went wrong meanwhile."""
        if self._taken == self._key.length and self._is_sound():
            self._cache.put(self._key, CachedResult(self._digest.digest(), body))

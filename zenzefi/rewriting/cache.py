"""A bounded cache of rewritten bodies, so that a style sheet is compressed only once.

The key of a body is a digest of its encoded source bytes and of everything else that it depends on.
A user never gets a body made from another response, even if the upstream's validators are wrong: a
cached body is equal to rewriting the same bytes again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple


class Key(NamedTuple):
    """Identifies a response by its head."""

    url: str
    validator: str
    """The upstream's ETag, ``""`` without one."""
    length: int
    """Bytes of the encoded body, as ``Content-Length`` says."""
    depends: Hashable
    """Everything except the body that the result depends on."""


class CachedResult(NamedTuple):
    """A finished body, and the digest of the bytes it was made from."""

    source: bytes
    body: bytes


class ResultCache:
    """Evicts the least recently used bodies; ``limit`` bounds the sum of their sizes in bytes."""

    def __init__(self, limit: int = 8 * 1024 * 1024, largest: int = 1024 * 1024) -> None:
        self._limit = limit
        self.largest = min(largest, limit)
        self._results: OrderedDict[Key, CachedResult] = OrderedDict()
        self.size = 0
        self.hits = 0
        self.misses = 0

    def get(self, key: Key) -> CachedResult | None:
        """The result of the last response with this key, or ``None``."""
        result = self._results.get(key)
        if result is not None:
            self._results.move_to_end(key)
        return result

    def put(self, key: Key, result: CachedResult) -> None:
        """Keep a result unless it is too large."""
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
    """The cache as used by one response, whose encoded bytes pass here first.

    If the cache has a result under the response's key, the bytes are held back (at most
    :attr:`ResultCache.largest`) until the body is complete and its digest can be compared.
    ``is_sound`` is called at the end and returns whether the rewritten body may be kept.
    """

    def __init__(self, cache: ResultCache, key: Key, is_sound: Callable[[], bool]) -> None:
        self._cache = cache
        self._key = key
        self._is_sound = is_sound
        self._digest = hashlib.sha256()
        self._taken = 0
        self._known = cache.get(key)
        cache.misses += self._known is None
        self._held: list[bytes] = []
        self.found: bytes | None = None
        """The cached body, set once the source is complete and its digest matches."""

    @property
    def largest(self) -> int:
        """Size of the longest body that is kept, in bytes."""
        return self._cache.largest

    @property
    def holds(self) -> bool:
        """Whether bytes are held back: more must come before the digest tells."""
        return bool(self._held) and self.found is None

    def take(self, data: bytes) -> bytes:
        """The bytes to rewrite now; none while the cached result may still match."""
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
        """The bytes that are still held back when the body ends."""
        return b"" if self.found is not None else self._released()

    def keep(self, body: bytes) -> None:
        """Keep the rewritten body, unless something failed meanwhile."""
        if self._taken == self._key.length and self._is_sound():
            self._cache.put(self._key, CachedResult(self._digest.digest(), body))

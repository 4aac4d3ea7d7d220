"""A dictionary with a maximum size, for everything that clients could otherwise make grow."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(OrderedDict[K, V]):
    """Keeps the ``capacity`` newest entries, ordered from the oldest to the newest.

    Assigning to a key makes its entry the newest one, also when the key exists already. Reading
    does not change the order, except by :meth:`refresh`: with it the dictionary is an LRU cache.
    Reads cost as much as those of a ``dict``.

    ``on_evict`` is called with the key and value of each entry that was removed because the
    dictionary was full. It is not called for ``del``, ``pop`` and ``clear``.
    """

    def __init__(self, capacity: int, on_evict: Callable[[K, V], None] | None = None) -> None:
        super().__init__()
        self.capacity = capacity
        self._on_evict = on_evict

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        while len(self) > self.capacity:
            oldest, evicted = self.popitem(last=False)
            if self._on_evict is not None:
                self._on_evict(oldest, evicted)

    def refresh(self, key: K) -> V | None:
        """Return the value of ``key`` and make its entry the newest one; ``None`` if absent."""
        value = self.get(key)
        if value is not None:
            self.move_to_end(key)
        return value

    def oldest(self) -> tuple[K, V] | None:
        """Return the oldest entry without removing it; ``None`` if the dictionary is empty."""
        return next(iter(self.items()), None)

"""Memory of processes that were forked from one image.

The workers share all pages until one of them writes to a page, and reference counts are written
whenever an object is used. So everything that a worker needs to start is loaded before the fork:
what is loaded afterwards exists once in each process.

A process that serves keeps its garbage collections short (:class:`ShortCollections`).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
import sys
import time
from collections.abc import Iterable, Iterator

_MADV_DONTNEED = 4  # madvise(2)
_OLDEST = 4  # collections of the middle generation before one of the oldest; 10 by default
_COUNT_AFTER = 50  # collections of the longest permitted time between two counts


def freeze() -> None:
    """Make all existing objects permanent: garbage collections do not visit them.

    Call it before forking, because a collection writes into every object that it visits.
    """
    gc.collect()
    gc.freeze()


class ShortCollections:
    """Keeps garbage collections short, however many objects live.

    A collection of the oldest generation visits all its objects, and holds the event loop
    meanwhile: 0.7 s with 10,000 open WebSockets. After one that took ``longest`` seconds of CPU,
    the objects that survived it become permanent, and the next one visits only newer objects.

    Permanent objects are freed when nothing refers to them. Only reference cycles among them are
    not, so the objects of a connection are kept free of cycles. As a safety net, a collection that
    visits everything is permitted when there are ``most`` more permanent objects than after the
    last one, and twice as many.
    """

    def __init__(self, longest: float = 0.01, most: int = 2_000_000) -> None:
        self._longest = longest
        self._most = most
        self._began = 0.0
        self._spent = 0.0  # seconds of collections whose survivors became permanent
        self._permanent = gc.get_freeze_count()
        self._is_complete = False
        self._threshold = gc.get_threshold()
        young, middle, _ = self._threshold
        gc.set_threshold(young, middle, _OLDEST)
        gc.callbacks.append(self._collected)

    def close(self) -> None:
        """Leave the collections alone from now on."""
        gc.set_threshold(*self._threshold)
        gc.callbacks.remove(self._collected)

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] < 2:
            return
        now = time.thread_time()
        if phase == "start":
            self._began = now
            return
        seconds = now - self._began
        if self._is_complete:
            self._is_complete = False
            gc.freeze()
            self._permanent, self._spent = gc.get_freeze_count(), 0.0
        elif seconds >= self._longest:
            gc.freeze()
            self._spent += seconds
            if self._spent >= _COUNT_AFTER * self._longest:  # counting visits each of them
                self._spent = 0.0
                limit = max(self._permanent + self._most, 2 * self._permanent)
                if gc.get_freeze_count() > limit:
                    self._is_complete = True
                    gc.unfreeze()


def release() -> None:
    """Give memory back to the system that the start needed and serving does not.

    Free memory of the C library, and the pages of programs and libraries that this process has
    read: they stay in the page cache, and come back when they are needed. Only mappings without a
    written page are released, because writes to the others would be lost. Does nothing where
    ``/proc`` does not describe the mappings.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.suppress(OSError, AttributeError), open("/proc/self/smaps") as smaps:
        for start, size in list(_unwritten(smaps)):
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_DONTNEED)
    with contextlib.suppress(AttributeError):  # musl has no malloc_trim
        libc.malloc_trim(ctypes.c_size_t(0))


def _unwritten(smaps: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Address and size of the read-only file mappings without a written page."""
    head: tuple[int, int] | None = None
    for line in smaps:
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+) *(.*)", line)
        if found is not None:
            is_file = found[4] != "0" and found[3] in ("r-xp", "r--p")
            start = int(found[1], 16)
            head = (start, int(found[2], 16) - start) if is_file else None
        elif head is not None and line.startswith("Anonymous:"):
            if line.split()[1] == "0":
                yield head
            head = None

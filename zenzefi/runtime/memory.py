"""Memory of processes that were forked from one image.

The workers share the pages of the supervisor until one of them writes to a page, and reference
counts are written whenever an object is used. So everything that a worker needs to start is loaded
before the fork: what is loaded afterwards exists once in each process. The supervisor itself needs
little afterwards, and releases the file pages that only it has mapped.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_MADV_DONTNEED = 4  # madvise(2)


def freeze() -> None:
    """Make all existing objects permanent: garbage collections do not visit them.

    Call it before forking, because a collection writes into every object that it visits.
    """
    gc.collect()
    gc.freeze()


def release_file_pages() -> None:
    """Unmap the pages of programs and libraries that this process has read.

    They stay in the page cache, and come back when they are needed. Only mappings without a
    written page are released, because writes to the others would be lost. Does nothing where
    ``/proc`` does not describe the mappings.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.suppress(OSError, AttributeError):
        for start, size in list(_unwritten(Path("/proc/self/smaps").read_text())):
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_DONTNEED)


def _unwritten(smaps: str) -> Iterator[tuple[int, int]]:
    """Address and size of the read-only file mappings without a written page."""
    head: tuple[int, int] | None = None
    for line in smaps.splitlines():
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+) *(.*)", line)
        if found is not None:
            is_file = found[4] != "0" and found[3] in ("r-xp", "r--p")
            start = int(found[1], 16)
            head = (start, int(found[2], 16) - start) if is_file else None
        elif head is not None and line.startswith("Anonymous:"):
            if line.split()[1] == "0":
                yield head
            head = None

"""Cost of streaming: ``python -m bench.rewriting.streaming`` prints one JSON object.

The engine rewrites a page of 24 MB, gzip-compressed by the upstream, piece by piece, and a page
that consists of links. :mod:`bench.rewriting.__main__` runs this in its own process to measure
memory.
"""

from __future__ import annotations

import json
import resource
import time
import zlib
from collections.abc import Iterator
from itertools import repeat

from bench.rewriting import documents
from bench.rewriting.worker import plan

_PIECE = 16 * 1024  # size of one feed, as in the gate
_BLOCK = 1_000_000


def _gzipped(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks as one gzip member, in pieces."""
    machine = zlib.compressobj(1, wbits=31)
    data = b""
    for block in blocks:
        data += machine.compress(block)
        while len(data) >= _PIECE:
            yield data[:_PIECE]
            data = data[_PIECE:]
    yield data + machine.flush()


def through(blocks: Iterator[bytes]) -> dict[str, float]:
    """CPU ms to the first output and of the longest step; pieces to the first output; MB out."""
    rewrite = plan("html", {"Content-Encoding": "gzip"})
    begun = time.thread_time()
    first = longest = 0.0
    size = pieces = 0
    for number, piece in enumerate(_gzipped(blocks), 1):
        steps = rewrite.slices(piece)
        while True:
            start = time.thread_time()
            made = next(steps, None)
            now = time.thread_time()
            longest = max(longest, now - start)
            if made is None:
                break
            if not pieces:
                first, pieces = now - begun, number
            size += len(made)
    size += len(rewrite.finish())
    return {
        "first": first * 1000,
        "pieces": pieces,
        "longest": longest * 1000,
        "size": size / 1e6,
    }


def main() -> None:
    """Measure twice: the first pass warms up and loads lazy modules."""
    page = documents.html(_BLOCK)
    through(iter([page]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    whole = through(repeat(page, 24))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    links = b"<a href=/x>x</a>" * (_BLOCK // 16)
    print(json.dumps({"page": whole, "grown": grown / 1024, "links": through(iter([links] * 2))}))


if __name__ == "__main__":
    main()

"""Measures that work grows linearly with the length of the input.

Work is measured, not time: the processor time of the same call over inputs that grow fourfold.
Linear work grows fourfold too, quadratic work sixteenfold. Only a growth that is seen again and
again counts, and only of calls that take long enough to be measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.rewriting.urls import UrlMapper

UPSTREAM = Origin("http", "app.internal", 8080)
MOUNT = Mount(MountKind.PREFIX, Origin("https", "gate.example", 443), "/api/v1/proxy")
PAGE = "http://app.internal:8080/shop/cart?q=1"
MAPPER = UrlMapper(UPSTREAM, MOUNT)
FOURFOLD = 9.0
"""Between the growth of linear work and that of quadratic work."""
PER_CHARACTER = 3e-6
"""Seconds. Faster calls are not compared: the work may rise once, beyond a limit."""

_T = TypeVar("_T", str, bytes)


def cpu(run: Callable[[_T], object], text: _T) -> float:
    """The processor time of one call, in seconds."""
    start = time.thread_time()
    run(text)
    return time.thread_time() - start


def assert_linear(run: Callable[[_T], object], make: Callable[[int], _T], most: int) -> None:
    """Assert that the work of ``run(make(n))`` is linear, for n from ``most``/64 to ``most``."""
    size = most // 64
    before = cpu(run, make(size))
    while size < most:
        size *= 4
        text = make(size)
        after = cpu(run, text)
        if after > 0.02 + PER_CHARACTER * size and after > FOURFOLD * before:
            smaller = make(size // 4)
            for _ in range(3):
                before = max(before, cpu(run, smaller))
                after = min(after, cpu(run, text))
            assert after <= FOURFOLD * before, (
                f"{len(text)} characters took {after / before:.0f} times the work of a quarter"
            )
        before = after


def repeated(before: str, unit: str, after: str) -> Callable[[int], str]:
    """Makes a text of a given length that repeats ``unit``."""
    return lambda size: before + unit * (size // len(unit)) + after

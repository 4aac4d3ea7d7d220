"""Counts the calls of the gate's own functions, which is the same on every machine.

The tests' and the libraries' functions are not counted, so the client and the upstream may run in
the same thread.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_COUNTED = (f"{_ROOT}/zenzefi/", f"{_ROOT}/plugins/")


class CallCounter:
    """A context in which calls in this thread are counted.

    Each step of a generator counts as a call, and so does a comprehension where Python makes a
    function of it (before 3.12).
    """

    def __init__(self) -> None:
        self.by_code: Counter[CodeType] = Counter()
        self.builtins = 0
        """Calls of functions in C by the gate's functions."""

    def __enter__(self) -> CallCounter:
        sys.setprofile(self._on_event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _on_event(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if code.co_filename.startswith(_COUNTED):
            if event == "call":
                self.by_code[code] += 1
            elif event == "c_call":
                self.builtins += 1

    @property
    def total(self) -> int:
        """All calls of the gate's functions."""
        return self.by_code.total()

    def table(self, requests: int, rows: int | None = None) -> str:
        """The functions that were called most: calls per request, place, name."""
        lines = []
        for code, count in self.by_code.most_common(rows):
            place = f"{code.co_filename.removeprefix(f'{_ROOT}/')}:{code.co_firstlineno}"
            lines.append(f"{count / requests:8.2f}  {code.co_qualname:<48} {place}")
        return "\n".join(lines)

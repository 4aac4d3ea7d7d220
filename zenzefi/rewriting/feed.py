"""One scanner over a whole body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from zenzefi.rewriting.edits import Edit, apply


class Scans(Protocol):
    """What is fed (the engine's ``Scanner``)."""

    def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
        """``(settled, edits)`` of the bytes that are not settled yet."""


def rewrite(scanner: Scans, data: bytes) -> bytes:
    """A whole body at once."""
    _, edits = scanner.scan(data, True)
    return apply(data, edits)

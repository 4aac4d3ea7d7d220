"""A scanner by itself, as a stream: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from zenzefi.rewriting.edits import Edit, apply


class Scans(Protocol):
    """What is fed (the engine's ``Scanner``)."""

    def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
        """``(settled, edits)`` of the bytes that are not settled yet."""


class Feed:
    """Keeps what a scanner leaves unsettled and applies its edits.

    The engine's pipeline does the same for many scanners at once and keeps budgets; this is the
    plain thing, for one scanner, in tools and tests.
    """

    def __init__(self, scanner: Scans) -> None:
        self._scanner = scanner
        self._carry = b""
        self._retry = 0

    def feed(self, data: bytes) -> bytes:
        """The output that follows from one more chunk."""
        window = self._carry + data if self._carry else data
        # What is unfinished is looked at again only when it has doubled: linear in all cases.
        if len(window) < self._retry:
            self._carry = window
            return b""
        settled, edits = self._scanner.scan(window, False)
        self._carry = window[settled:]
        self._retry = 2 * len(self._carry) if len(self._carry) > 256 else 0
        return apply(window[:settled], edits)

    def finish(self) -> bytes:
        """The rest."""
        window, self._carry = self._carry, b""
        _, edits = self._scanner.scan(window, True)
        return apply(window, edits)


def rewrite(scanner: Scans, data: bytes) -> bytes:
    """A whole body at once."""
    _, edits = scanner.scan(data, True)
    return apply(data, edits)

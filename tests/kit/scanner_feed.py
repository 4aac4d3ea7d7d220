"""One scanner fed chunk by chunk: what the tests of the scanners drive."""

from __future__ import annotations

from zenzefi.rewriting.edits import apply
from zenzefi.rewriting.scanner import Scanner


class ScannerFeed:
    """Keeps what a scanner leaves unsettled and applies its edits.

    The engine's pipeline does the same for many scanners at once, within budgets.
    """

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self._carry = b""
        self._retry = 0

    def feed(self, data: bytes) -> bytes:
        """The output that follows from one more chunk."""
        window = self._carry + data if self._carry else data
        # An unfinished window is scanned again only when it has doubled: linear in all cases.
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

"""The interface of all scanners: a window of bytes in, settled bytes and edits out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from zenzefi.rewriting.edits import Edit, apply


class Scanner(Protocol):
    """A streaming reader of one body (``needs = "chunks"``)."""

    def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
        """Read ``window`` and return ``(settled, edits)``.

        ``window`` begins with the first byte that is not settled yet. The first ``settled`` bytes
        of it are finished and are not passed in again; the remaining bytes come back at the start
        of the next window, followed by more data. The offsets of ``edits`` count from the start of
        the window; edits are in ascending order, do not overlap and lie within the settled part.
        If ``final`` is true, no more data follows and the whole window counts as settled. Leave
        only an incomplete token unsettled: data that is held back is latency.
        """


class DecidingScanner:
    """A scanner that withholds the beginning of a body until it has decided how to read it."""

    def release(self) -> None:
        """Decide with the bytes that are there: more may be long in coming."""


def rewrite_whole(scanner: Scanner, data: bytes) -> bytes:
    """``data``, a complete body, with the edits of a new ``scanner`` applied."""
    _, edits = scanner.scan(data, True)
    return apply(data, edits)

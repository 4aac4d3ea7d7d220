"""Text that scripts read, at root mounts: every mention of the upstream's origin.

At a root mount no script of the gate maps what a page makes of an event stream, of the parts of a
batch or of a text that it fetched. A mention of the origin in them is an address, found as in
scripts. Under a prefix these bodies pass unchanged, because the runtime maps addresses where they
are used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Literal

from zenzefi.plugins import Context, Edit, Match, Mount, Needs, OriginFinder, Plugin, Scanner

_BOUNDARY = re.compile(r";[ \t]*boundary[ \t]*=[ \t]*(?:\"([^\"]*)\"|([^\s;\"]+))", re.I)
_LENGTH = re.compile(rb"^content-length:[ \t]*([0-9]{1,12})[ \t]*\r?$", re.I | re.M)
_WITH_LENGTH = re.compile(rb"^content-length:|^content-type:[ \t]*application/http\b", re.I | re.M)
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_LONGEST_HEAD = 1 << 13  # bytes; a longer one is not genuine
_LONGEST_PART = 1 << 18  # bytes of a part that is held; longer ones pass unchanged
_MOST_LENGTHS = 16


class Text(Plugin):
    """Maps mentions of the origin in texts that scripts fetch; a text that is shown stays."""

    name = "text"
    matches = Match(
        content_types=(
            *("text/plain", "text/markdown", "text/csv", "text/x-component"),
            "text/vnd.turbo-stream.html",
        )
    )
    needs = Needs.CHUNKS
    varies = ("Sec-Fetch-Dest",)

    def _works(self, *, is_root: bool, destination: str | None) -> bool:
        """Only where a script reads the text and nothing else maps it."""
        return is_root and destination == "empty"

    def _edits_mentions_only(self, mount: Mount, destination: str | None) -> bool:
        """True."""
        return True

    def scanner(self, context: Context) -> Scanner:
        """A search for the host."""
        return _Mentions(context)


class EventStream(Plugin):
    """Maps mentions of the origin in event streams, as they arrive."""

    name = "event-stream"
    matches = Match(content_types=("text/event-stream",))
    needs = Needs.CHUNKS

    def _works(self, *, is_root: bool, destination: str | None) -> bool:
        """Only at root mounts."""
        return is_root

    def scanner(self, context: Context) -> Scanner:
        """A search for the host."""
        return _Mentions(context)


class Multipart(Plugin):
    """Maps mentions of the origin in ``multipart/mixed`` part by part, and corrects lengths."""

    name = "multipart"
    matches = Match(content_types=("multipart/mixed",))
    needs = Needs.CHUNKS

    def _works(self, *, is_root: bool, destination: str | None) -> bool:
        """Only at root mounts."""
        return is_root

    def scanner(self, context: Context) -> Scanner | None:
        """A search in each part; ``None`` without a boundary."""
        found = _BOUNDARY.search(context.response_headers.get("Content-Type", ""))
        if found is None:
            return None
        finder = OriginFinder(context.origins, context.mount)
        return _Parts(finder, (found[1] or found[2] or "").encode("utf-8", "surrogateescape"))


class _Mentions:
    def __init__(self, context: Context) -> None:
        self._finder = OriginFinder(context.origins, context.mount)

    def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
        return self._finder.edits(window, final)


class _Parts:
    """Reads one part after the other; a part ends at the next delimiter (RFC 2046, 5.1.1).

    A part that says its length is held until it is complete, others pass as they arrive.
    """

    def __init__(self, finder: OriginFinder, boundary: bytes) -> None:
        self._finder = finder
        self._delimiter = b"--" + boundary
        self._state: Literal["head", "stream", "hold", "pass"] = "stream"

    def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
        edits: list[Edit] = []
        start = 0
        while True:
            end = window.find(self._delimiter, start)
            is_whole = end >= 0 or final
            limit = end if end >= 0 else len(window)
            if not is_whole:  # the last bytes may begin a delimiter
                limit = max(start, limit - len(self._delimiter) + 1)
            if self._state == "head":
                self._read_head(window[start:limit], is_whole=is_whole)
            if self._state == "hold" and limit - start > _LONGEST_PART:
                self._state = "pass"
            if self._state == "hold" and is_whole:
                edits += _moved(self._whole(window[start:limit]), start)
                start = limit
            elif self._state == "stream":
                settled, found = self._finder.edits(window[start:limit], is_whole)
                edits += _moved(found, start)
                start += settled
            elif self._state == "pass":
                start = limit
            if end < 0:
                return start, edits
            start = end + len(self._delimiter)
            self._state = "head"

    def _read_head(self, part: bytes, *, is_whole: bool) -> None:
        """Decide how to read the part, once its header is complete."""
        blank = _BLANK_LINE.search(part)
        if blank is not None:
            has_length = _WITH_LENGTH.search(part, 0, blank.end()) is not None
            self._state = "hold" if has_length else "stream"
        elif is_whole or len(part) > _LONGEST_HEAD:
            self._state = "stream"

    def _whole(self, part: bytes) -> list[Edit]:
        edits = [self._finder.edit(spelled) for spelled in self._finder.find(part)]
        return sorted((*edits, *_lengths(part, edits))) if edits else edits


def _moved(edits: Sequence[Edit], by: int) -> list[Edit]:
    return [Edit(start + by, end + by, new) for start, end, new in edits]


def _lengths(part: bytes, edits: Sequence[Edit]) -> list[Edit]:
    """New lengths for the part, and for the response in it (a batch has whole responses)."""
    found: list[Edit] = []
    # From the last: a length inside a response changes the length of the part around it.
    for length in reversed(list(islice(_LENGTH.finditer(part), _MOST_LENGTHS))):
        blank = _BLANK_LINE.search(part, length.end() - 1)
        if blank is None:
            continue
        start, end = blank.end(), blank.end() + int(length[1])
        inside = [edit for edit in (*edits, *found) if start <= edit.start and edit.end <= end]
        grown = sum(len(edit.new) - (edit.end - edit.start) for edit in inside)
        if grown:
            found.append(Edit(*length.span(1), b"%d" % (end - start + grown)))
    return found

"""Edits are spans: bytes that no edit covers stay identical.

A rewriter never builds a new document; it lists which bytes of the old one change. Several sources
(the HTML rules, a banner plugin, a header mask) list their edits against the same input, and
``compose`` merges them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Edit(NamedTuple):
    """Replaces bytes ``start`` to ``end`` (exclusive) by ``new``; inserts if they are equal."""

    start: int
    end: int
    new: bytes


class EditConflict(NamedTuple):
    """A dropped edit: an edit of a source with higher precedence overlaps it."""

    dropped: Edit
    source: str
    kept: Edit
    by: str


class _Placed(NamedTuple):
    """An accepted edit; the tuple's order is the order of application."""

    start: int
    end: int
    order: int
    edit: Edit
    source: str


def compose(
    sources: Sequence[tuple[str, Iterable[Edit]]],
) -> tuple[list[Edit], list[EditConflict]]:
    """Merge the edits of several named sources, first source first in precedence.

    Returns the edits ordered by position, ready for ``apply``, and the dropped ones. All insertions
    at one position are kept, in the order of the sources. An insertion at either border of a
    replaced span is kept, one inside it is dropped. Equal replacements count once.

    Raises ``ValueError`` for an edit whose end is before its start.
    """
    placed: list[_Placed] = []
    conflicts: list[EditConflict] = []
    order = 0
    for source, edits in sources:
        for edit in edits:
            start, end, new = edit
            if end < start or start < 0:
                raise ValueError(f"{source}: an edit ends before it starts: {start}..{end}")
            order += 1
            item = _Placed(start, end, order, Edit(start, end, new), source)
            at = bisect_left(placed, item)
            other = _overlapping(placed, at, start, end)
            if other is None:
                placed.insert(at, item)
            elif other.edit != item.edit:
                conflicts.append(EditConflict(item.edit, source, other.edit, other.source))
    return [item.edit for item in placed], conflicts


def _overlapping(placed: list[_Placed], at: int, start: int, end: int) -> _Placed | None:
    """The accepted edit, if any, that shares a byte or an inner position with start..end."""
    # Accepted spans are disjoint; insertions may be between `at` and the span before it.
    for i in range(at - 1, -1, -1):
        before = placed[i]
        if before.end > start and (start != end or before.start < start):
            return before
        if before.end > before.start:
            break
    for i in range(at, len(placed)):
        after = placed[i]
        if after.start >= end:
            break
        if after.end > after.start or after.start > start:
            return after
    return None


def apply(data: bytes, edits: Iterable[Edit], offset: int = 0) -> bytes:
    """``data`` after ordered, disjoint edits; ``offset`` is the position of its first byte."""
    out: list[bytes] = []
    last = 0
    for start, end, new in edits:
        out.append(data[last : start - offset])
        out.append(new)
        last = end - offset
    if not out:
        return data
    out.append(data[last:])
    return b"".join(out)

"""Elements whose attributes depend on each other: ``<meta>``, and animations in SVG."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.html import syntax
from zenzefi.rewriting.html.references import decode, splice
from zenzefi.rewriting.html.table import ANIMATED
from zenzefi.rewriting.html.tokenizer import Tag
from zenzefi.rewriting.microsyntax import map_animation, map_refresh

MOST = 4000
"""Attributes of one tag, or parts of one value, that are mapped; others pass unchanged."""
QUOTES = {2: b'"', 3: b"'", 4: b""}
"""The quotes of a value, by its group in the patterns of attributes."""


def meta_edits(
    data: bytes,
    start: int,
    end: int,
    map_url: Callable[[str], str],
    map_policy: Callable[[str], str] | None,
) -> list[Edit]:
    """The edits of ``<meta http-equiv>``; its attributes are between ``start`` and ``end``."""
    first = _attributes(data, start, end)
    if b"http-equiv" not in first or b"content" not in first:
        return []
    group, found = first[b"http-equiv"]
    kind = decode(found[group]).strip().lower()
    if kind == "refresh":
        return _edits(first[b"content"], lambda value: map_refresh(value, map_url))
    if kind == "content-security-policy" and map_policy is not None:
        return _edits(first[b"content"], map_policy)
    return []


def animation_edits(data: bytes, start: int, end: int, map_url: Callable[[str], str]) -> list[Edit]:
    """The edits of the values that an animation gives to an attribute (SVG 1.1, 19.2.5)."""
    first = _attributes(data, start, end)
    if b"attributename" not in first:
        return []
    group, found = first[b"attributename"]
    animated = decode(found[group]).strip()
    edits: list[Edit] = []
    for name in ANIMATED & first.keys():
        edits += _edits(first[name], lambda value: map_animation(animated, value, map_url))
    return sorted(edits)


def _attributes(data: bytes, start: int, end: int) -> dict[bytes, tuple[int, Tag]]:
    """The first of each name that has a value, with the group of the value."""
    first: dict[bytes, tuple[int, Tag]] = {}
    for name, group, found in islice(syntax.attributes(data, start, end - 1), MOST):
        if group > 1:
            first.setdefault(name, (group, found))
    return first


def _edits(attribute: tuple[int, Tag], change: Callable[[str], str]) -> list[Edit]:
    group, found = attribute
    raw = found[group]
    value = decode(raw)
    new = change(value)
    return (
        [Edit(*found.span(group), splice(raw, value, new, QUOTES[group]))] if new != value else []
    )

"""Elements whose attributes depend on each other: ``<meta>``, and animations in SVG."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice

from zenzefi.rewriting.csp import InlineHashes
from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.html import syntax
from zenzefi.rewriting.html.references import decode, splice
from zenzefi.rewriting.html.table import ANIMATED
from zenzefi.rewriting.html.tokenizer import TAG_LIMIT, Tag
from zenzefi.rewriting.microsyntax import map_animation, map_refresh
from zenzefi.rewriting.scanner import Scanner, rewrite_whole

MOST = 4000
"""Attributes of one tag, or parts of one value, that are mapped; others pass unchanged."""
QUOTES = {2: b'"', 3: b"'", 4: b""}
"""The quotes of a value, by its group in the patterns of attributes."""


def nonce_edits(
    hashes: InlineHashes,
    data: bytes,
    tag: Tag,
    reader_of: Callable[[bytes, Tag], Scanner | None],
) -> list[Edit] | None:
    """The nonce of an inline script or style that its hash allows and that will be edited.

    ``None`` while its end is missing. Longer ones than 256 KiB get none.
    """
    name = tag[1].lower()
    if name not in (b"script", b"style"):
        return []
    end = syntax.raw_text_end(name).search(data, tag.end())
    if end is None:
        return None if len(data) - tag.start() <= TAG_LIMIT else []
    text = data[tag.end() : end.start()]
    names = {name for name, _, _ in syntax.attributes(tag[0], len(tag[1]) + 1, len(tag[0]) - 1)}
    if names & {b"nonce", b"src"} or not hashes.allows(name, text):
        return []
    reader = reader_of(name, tag)
    if reader is None or rewrite_whole(reader, text) == text:
        return []
    return [Edit(tag.end(1), tag.end(1), f' nonce="{hashes.nonce}"'.encode())]


class InertElements:
    """The open elements in which no ``<base>`` counts: templates, and one ``noscript``.

    Where scripts run, ``noscript`` is raw text (HTML, 13.2.6.4.4), so its end tag alone counts; in
    a template it is an element, which ends with the template.
    """

    def __init__(self) -> None:
        self._templates = 0
        self._noscript = False

    def __bool__(self) -> bool:
        """Whether any is open."""
        return self._noscript or self._templates > 0

    def opens(self, name: bytes) -> None:
        """A start tag of one of them."""
        if name == b"noscript":
            self._noscript = True
        elif not self._noscript:
            self._templates += 1

    def closes(self, name: bytes) -> None:
        """An end tag of one of them."""
        if name == b"noscript":
            self._noscript = False
        elif self._templates:
            self._templates, self._noscript = self._templates - 1, False


_WITH_CREDENTIALS = b' crossorigin="use-credentials"'
_MANIFEST = re.compile(rb"[mM][aA][nN][iI][fF][eE][sS][tT]")


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


def credential_edits(
    data: bytes, start: int, end: int, own: Callable[[str], str | None]
) -> list[Edit]:
    """``crossorigin="use-credentials"`` for a manifest of the upstream.

    Browsers fetch a manifest without cookies otherwise, even from the page's origin (HTML,
    4.6.7.10), so the gate would refuse the request.
    """
    if _MANIFEST.search(data, start, end) is None:
        return []
    first: dict[bytes, tuple[int, Tag]] = {}
    for name, group, found in islice(syntax.attributes(data, start, end - 1), MOST):
        first.setdefault(name, (group, found))

    def value(name: bytes) -> str:
        group, found = first.get(name, (1, None))
        return "" if found is None or group == 1 else decode(found[group])

    if "manifest" not in value(b"rel").lower().split() or own(value(b"href")) is None:
        return []
    if b"crossorigin" not in first:
        return [Edit(start, start, _WITH_CREDENTIALS)]
    if value(b"crossorigin").strip().lower() == "use-credentials":
        return []
    found = first[b"crossorigin"][1]
    return [Edit(found.start(1), found.end(), _WITH_CREDENTIALS[1:])]


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

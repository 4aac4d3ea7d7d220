"""Whole text nodes of a document, for plugins (``needs = "text_nodes"``).

Theory of operation
    The tokenizer shows text in runs that may be cut by any window. This scanner joins the runs up
    to the next tag or comment and holds back a text whose end has not arrived: at most
    :data:`LONGEST` bytes, which stay unsettled and are read again with the next window. A longer
    text is passed in parts that end at white space.

Guarantees
    - The texts do not depend on where windows are cut, up to :data:`LONGEST` bytes each.
    - The texts of ``title`` and ``textarea`` are passed too. Those of scripts and styles, also in
      SVG, of ``xmp`` and ``plaintext``, and CDATA sections are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.html import syntax
from zenzefi.rewriting.html.references import decode
from zenzefi.rewriting.html.tokenizer import Tag, Tokenizer
from zenzefi.rewriting.scanner import Scanner

LONGEST = 64 * 1024
"""Bytes of the longest text that is passed as a whole."""
_WITH_REFERENCES = (b"title", b"textarea")
_LAST_SPACE = re.compile(rb"[\t\n\f\r ](?=[^\t\n\f\r ]*\Z)")


@dataclass(frozen=True, slots=True)
class TextNode:
    """A whole text of a document, between two tags or comments (``needs = "text_nodes"``)."""

    raw: bytes
    """The source of the text."""
    start: int
    charset: str
    is_whole: bool = True
    """False for a part of a text of more than 64 KiB; parts end at white space."""

    @property
    def text(self) -> str:
        """The text with character references resolved."""
        source = self.raw.decode(self.charset, "surrogateescape")
        # decode() takes ASCII with other bytes escaped: as UTF-8 they survive it.
        resolved = decode(source.encode("utf-8", "surrogateescape"))
        return resolved.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")

    def replace(self, text: str) -> Edit:
        """Replace it by another text, which is escaped.

        What both texts have in common at their ends stays as it is spelled, unless the source has
        character references: then the whole text is written again.
        """
        source = self.raw.decode(self.charset, "surrogateescape")
        if "&" in source or "<" in source:
            return self._written(text, 0, len(self.raw))
        head = _common(source, text)
        rest = min(len(source), len(text)) - head
        tail = _common(source[::-1][:rest], text[::-1][:rest])
        first = len(source[:head].encode(self.charset, "surrogateescape"))
        last = len(source[: len(source) - tail].encode(self.charset, "surrogateescape"))
        return self._written(text[head : len(text) - tail], first, last)

    def _written(self, text: str, first: int, last: int) -> Edit:
        escaped = text.replace("&", "&amp;").replace("<", "&lt;")
        try:
            new = escaped.encode(self.charset, "surrogateescape")
        except UnicodeEncodeError:
            new = re.sub("[\udc80-\udcff]", "\ufffd", escaped).encode(
                self.charset, "xmlcharrefreplace"
            )
        return Edit(self.start + first, self.start + last, new)

    def before(self, html: bytes) -> Edit:
        """Insert before it."""
        return Edit(self.start, self.start, html)

    def after(self, html: bytes) -> Edit:
        """Insert after it."""
        end = self.start + len(self.raw)
        return Edit(end, end, html)


def _common(one: str, other: str) -> int:
    """How many characters both texts begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


class TextNodeScanner(Tokenizer):
    """Calls ``on_text`` for each text of a document and collects its edits."""

    _shows_text = True

    def __init__(self, on_text: Callable[[TextNode], Iterable[Edit]], charset: str) -> None:
        super().__init__(*syntax.EVERY_TAG)
        self._on_text = on_text
        self._charset = charset
        self._first = self._last = -1  # the pending text in the current window
        self._window = b""
        self._is_part = False  # the pending text continues one that was too long
        self._in_code = False  # in a script of SVG, whose content is tokenized like text

    def scan(self, window: bytes, final: bool) -> tuple[int, list[Edit]]:
        """``(settled, edits)`` (:class:`zenzefi.rewriting.scanner.Scanner`)."""
        self._window = window
        self._first = self._last = -1
        settled, edits = super().scan(window, final)
        first, last = self._first, self._last
        if first < 0:
            return settled, edits
        # A mode or a cut tag means that something else has begun behind the text.
        if final or self._mode is not None or self._cut:
            self._show(edits)
        elif last - first <= LONGEST:
            settled = min(settled, first)
        else:
            space = _LAST_SPACE.search(window, first + LONGEST // 2, first + LONGEST)
            settled = space.end() if space else first + LONGEST
            self._last = settled
            self._show(edits, is_whole=False)
            self._is_part = True
        return settled, edits

    def _show(self, edits: list[Edit], *, is_whole: bool = True) -> None:
        first, last = self._first, self._last
        self._first = self._last = -1
        is_part, self._is_part = self._is_part, False
        if first >= 0:
            raw = self._window[first:last]
            node = TextNode(raw, first, self._charset, is_whole and not is_part)
            if not raw.isspace():
                edits += sorted(self._on_text(node))

    def _run(self, run: Tag, edits: list[Edit]) -> None:
        if self._in_code and self._in_foreign():
            return
        start, end = run.span()
        if self._first >= 0 and self._window[self._last : start] not in (b"", b"<"):
            self._show(edits)
        if self._first < 0:
            self._first = start
        self._last = end

    def _comment(self, data: bytes, start: int, end: int, edits: list[Edit]) -> None:
        self._show(edits)

    def _doctype(self, data: bytes, start: int, end: int, edits: list[Edit]) -> None:
        self._show(edits)

    def _tag_edits(self, data: bytes, name: bytes, tag: Tag, edits: list[Edit]) -> None:
        self._show(edits)
        if not self._in_foreign():  # an HTML tag has ended the drawing, and its script
            self._in_code = False
        elif name == b"script" and not tag[0].endswith(b"/>"):
            self._in_code = True

    def _end_tag_edits(self, name: bytes, tag: Tag, edits: list[Edit]) -> None:
        self._show(edits)
        if name == b"script":
            self._in_code = False

    def _text_reader(self, name: bytes, tag: Tag) -> Scanner | None:
        return _ElementText(self._on_text, self._charset) if name in _WITH_REFERENCES else None


class _ElementText:
    """The text of an element without tags."""

    def __init__(self, on_text: Callable[[TextNode], Iterable[Edit]], charset: str) -> None:
        self._on_text = on_text
        self._charset = charset
        self._is_part = False

    def scan(self, window: bytes, final: bool) -> tuple[int, list[Edit]]:
        if not final and len(window) <= LONGEST:
            return 0, []
        end = len(window)
        if end > LONGEST:
            space = _LAST_SPACE.search(window, LONGEST // 2, LONGEST)
            end = space.end() if space else LONGEST
        is_whole = final and not self._is_part and end == len(window)
        edits: list[Edit] = []
        at = 0
        while True:
            raw = window[at:end]
            if raw and not raw.isspace():
                edits += sorted(self._on_text(TextNode(raw, at, self._charset, is_whole)))
            self._is_part = True
            if not final or end == len(window):
                return end, edits
            at, end = end, min(len(window), end + LONGEST)

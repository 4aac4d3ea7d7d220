"""The document as tokens, for plugins: tags, comments, text (``needs = "tokens"``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.html import syntax
from zenzefi.rewriting.html.references import decode, encode
from zenzefi.rewriting.html.syntax import attributes
from zenzefi.rewriting.html.tokenizer import Tag, Tokenizer

TokenKind = Literal["start", "end", "text", "comment", "doctype"]


class HtmlToken:
    """One piece of a document and its position; attributes are parsed on demand."""

    __slots__ = ("_attributes", "_name", "_places", "_start", "kind", "raw")

    def __init__(self, kind: TokenKind, raw: bytes, start: int, name: bytes = b"") -> None:
        self.kind: TokenKind = kind
        self.raw = raw
        self._start = start
        self._name = name
        self._attributes: dict[str, str] | None = None
        self._places: dict[str, tuple[int, int, int]] = {}

    @property
    def name(self) -> str:
        """A tag's name in lower case; empty for other tokens."""
        return self._name.decode("utf-8", "replace").lower()

    @property
    def attributes(self) -> Mapping[str, str]:
        """Lower-case names to values with character references resolved; the first one counts."""
        if self._attributes is None:
            self._attributes = {}
            if self.kind == "start":
                self._read_attributes(self._attributes)
        return self._attributes

    def _read_attributes(self, into: dict[str, str]) -> None:
        for key, group, found in attributes(self.raw, len(self._name) + 1, len(self.raw) - 1):
            name = key.decode("utf-8", "surrogateescape")
            if name in into:
                continue
            # The encoding is unknown: non-ASCII bytes are kept as surrogates.
            value = decode(found[group]) if group > 1 else ""
            into[name] = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            self._places[name] = (found.start(1), found.end(1), found.end())

    def before(self, html: bytes) -> Edit:
        """Insert before it."""
        return Edit(self._start, self._start, html)

    def after(self, html: bytes) -> Edit:
        """Insert after it."""
        end = self._start + len(self.raw)
        return Edit(end, end, html)

    def replace(self, html: bytes) -> Edit:
        """Replace it."""
        return Edit(self._start, self._start + len(self.raw), html)

    def set(self, attribute: str, value: str) -> Edit:
        """Set an attribute of a start tag; quotes and escapes the value."""
        if self.kind != "start":
            raise ValueError(f"only a start tag has attributes, this is {self.kind}: {self.raw!r}")
        written = b'="' + encode(value, b'"') + b'"'
        if attribute.lower() in self.attributes:
            _, start, end = self._places[attribute.lower()]
            return Edit(self._start + start, self._start + end, written)
        at = self._start + len(self._name) + 1
        return Edit(at, at, b" " + attribute.encode("utf-8") + written)

    def remove(self, attribute: str) -> Edit:
        """Remove an attribute of a start tag, if it has it, with the white space before it."""
        if attribute.lower() not in self.attributes:
            return Edit(self._start, self._start, b"")
        start, _, end = self._places[attribute.lower()]
        start = len(self.raw[:start].rstrip(b"\t\n\f\r "))
        return Edit(self._start + start, self._start + end, b"")


class TokenScanner(Tokenizer):
    """Calls ``on_token`` for each token of a document and collects its edits.

    Text arrives in runs that may be cut at any window; the text of scripts and styles is left out.
    With ``tags`` (names of elements; ``/name`` for end tags) only those tags are passed, and all
    other content costs almost nothing.
    """

    def __init__(
        self, on_token: Callable[[HtmlToken], Iterable[Edit]], tags: Iterable[str] | None = None
    ) -> None:
        names = None if tags is None else frozenset(tag.lower().encode() for tag in tags)
        if names is None:
            super().__init__(*syntax.EVERY_TAG)
        else:
            ends = tuple(sorted(name[1:] for name in names if name.startswith(b"/")))
            starts = tuple(sorted(name for name in names if not name.startswith(b"/")))
            super().__init__(*syntax.tag_runs(starts, ends))
        self._shows_text = names is None
        self._on_token = on_token
        self._names = names

    def _show(self, token: HtmlToken, edits: list[Edit]) -> None:
        edits += sorted(self._on_token(token))

    def _run(self, run: Tag, edits: list[Edit]) -> None:
        if self._names is None:
            self._show(HtmlToken("text", run[0], run.start()), edits)

    def _comment(self, data: bytes, start: int, end: int, edits: list[Edit]) -> None:
        if self._names is None:
            self._show(HtmlToken("comment", data[start:end], start), edits)

    def _doctype(self, data: bytes, start: int, end: int, edits: list[Edit]) -> None:
        if self._names is None:
            self._show(HtmlToken("doctype", data[start:end], start), edits)

    def _tag_edits(self, data: bytes, name: bytes, tag: Tag, edits: list[Edit]) -> None:
        if self._names is None or name in self._names:
            self._show(HtmlToken("start", tag[0], tag.start(), tag[1]), edits)

    def _end_tag_edits(self, name: bytes, tag: Tag, edits: list[Edit]) -> None:
        if self._names is None or b"/" + name in self._names:
            self._show(HtmlToken("end", tag[0], tag.start(), tag[1]), edits)

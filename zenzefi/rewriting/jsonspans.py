"""A streaming JSON reader that yields the spans and paths of values.

It accepts byte-order marks, ``)]}'`` guards, several values in a row (NDJSON, JSON text sequences)
and superfluous commas. At invalid JSON it stops; the rest passes unchanged.
"""

from __future__ import annotations

import re

Path = tuple[str | int, ...]

_GUARD = re.compile(
    rb"\xef\xbb\xbf|\)\]\}'(?:[^\n\[{\"]*\n)?|for\s*\(;;\);|while\s*\(1\);|&&&START&&&"
)
_GUARDS = (b"\xef\xbb\xbf", b")]}'", b"for(;;);", b"while(1);", b"&&&START&&&")
_TOKEN = re.compile(
    rb"[\x09\x0a\x0d\x1e ]*(?:"
    rb'(?P<string>"(?>[^"\\]+|\\.)*")'
    rb"|(?P<scalar>-?\d(?>[0-9.eE+-]*)|true|false|null|NaN|-?Infinity)"
    rb"(?=[\x09\x0a\x0d\x1e ,\]}]|(?P<end>\Z))"
    rb"|(?P<mark>[\[\]{}:,]))",
    re.S,
)
_BLANK = re.compile(rb"[\x09\x0a\x0d\x1e ]*")
_DEPTH = 128


class JsonReader:
    """Reads windows; yields ``(path, start, end)`` of every scalar, as offsets in the window."""

    def __init__(self) -> None:
        self._path: list[str | int] = []
        self._objects: list[bool] = []
        self._key = False
        self._begun = False
        self._broken = False

    def read(self, window: bytes, final: bool) -> tuple[int, list[tuple[Path, int, int]]]:
        """The settled length of the window, and the scalars in it.

        A scalar deeper than :data:`_DEPTH` ends the reading: each has its whole path.
        """
        if self._broken:
            return len(window), []
        at = 0 if self._begun else self._begin(window, final)
        if at < 0:
            return 0, []
        found: list[tuple[Path, int, int]] = []
        while token := _TOKEN.match(window, at):
            kind = token.lastgroup or "mark"
            if kind == "end":
                if not final:
                    break
                kind = "scalar"
            if kind == "mark":
                if not self._mark(token["mark"]):
                    self._broken = True
                    break
            elif kind == "string" and self._key:
                self._path[-1] = _text(token["string"])
            else:
                start, end = token.span(kind)
                found.append((tuple(self._path), start, end))
            at = token.end()
        if self._broken or final:
            return len(window), found
        if _is_invalid(window, at):
            self._broken = True
            return len(window), found
        return at, found

    def _begin(self, window: bytes, final: bool) -> int:
        """Skip a byte-order mark and guards. Returns their end, -1 if bytes are missing."""
        at = 0
        while guard := _GUARD.match(window, at):
            at = guard.end()
        head = window[at : at + 64]
        self._begun = final or len(head) == 64 or not _may_be_guard(head)
        return at if self._begun else -1

    def _mark(self, mark: bytes) -> bool:
        if mark in b"{[":
            if len(self._objects) >= _DEPTH:
                return False
            self._objects.append(mark == b"{")
            self._path.append("" if mark == b"{" else 0)
            self._key = mark == b"{"
        elif mark in b"}]":
            if not self._objects or self._objects.pop() != (mark == b"}"):
                return False
            self._path.pop()
            self._key = False
        elif mark == b":":
            self._key = False
        elif self._objects:
            if self._objects[-1]:
                self._key = True
            else:
                last = self._path[-1]
                self._path[-1] = last + 1 if isinstance(last, int) else 0
        return True


def _may_be_guard(head: bytes) -> bool:
    bare = b"".join(head.split())
    return any(word.startswith(bare) for word in _GUARDS)


def _is_invalid(window: bytes, at: int) -> bool:
    """Whether the text at ``at``, after white space, can't become a token with more bytes."""
    blank = _BLANK.match(window, at)
    rest = blank.end() if blank else at
    return rest < len(window) and not _may_continue(window, rest)


def _may_continue(window: bytes, at: int) -> bool:
    """Whether the text at ``at`` may become a token with more bytes."""
    rest = window[at : at + 5]
    if rest[:1] == b'"' or rest[:1].isdigit() or rest[:1] == b"-":
        return True
    rest = window[at : at + 8]
    return any(word.startswith(rest) for word in (b"true", b"false", b"null", b"NaN", b"Infinity"))


def _text(string: bytes) -> str:
    import json

    try:
        return str(json.loads(string))
    except ValueError:
        return string[1:-1].decode("utf-8", "replace")

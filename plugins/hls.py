"""HLS playlists (RFC 8216bis): segment lines and ``URI`` attributes, line by line.

A variable (``EXT-X-DEFINE``, 4.4.2.3) is substituted where a URL changes: ``{$host}/a.ts`` becomes
the whole mapped URL. A value that is an absolute URL of the upstream is mapped at its definition
too, because media playlists import it from the multivariant playlist, which is another response.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from urllib.parse import parse_qs, urlsplit

from zenzefi.plugins import Context, Edit, Match, Needs, Plugin, Scanner

_URI = re.compile(rb"[,:][ \t]*(?:[A-Z0-9]+-)*(?:URI|ASSET-LIST)=\"([^\"\r\n]*)\"")
# Lines that may have a URL: without a tag, or a tag with a URI. Other lines are skipped in C.
_LINE = re.compile(
    rb"(?:^(?!\xef\xbb\xbf)|(?<=^\xef\xbb\xbf))"
    rb"(?:[^#\r\n][^\r\n]*|#EXT-X-DEFINE:[^\r\n]*|#[^\r\n]*?(?:URI|ASSET-LIST)=[^\r\n]*)",
    re.M,
)
_DEFINE = b"#EXT-X-DEFINE:"
_PAIR = re.compile(rb"(NAME|VALUE|QUERYPARAM)=\"([^\"\r\n]*)\"")
_VARIABLE = re.compile(r"\{\$([A-Za-z0-9_-]+)\}")
_ABSOLUTE = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//")
_MOST_VARIABLES = 64
_LONGEST_VALUE = 2048  # characters of a URL after substitution
_NEWLINE = re.compile(rb"[\r\n]")
_SPACE = b" \t\x0b\x0c"
_LONGEST_LINE = 64 * 1024
_MOST = 1000  # URLs in one line; a line is mapped without a pause


class Hls(Plugin):
    """Maps segments, variant playlists, keys, maps, parts and steering servers."""

    name = "hls"
    matches = Match(
        content_types=(
            "application/vnd.apple.mpegurl",
            "application/x-mpegurl",
            "audio/mpegurl",
            "audio/x-mpegurl",
            "application/mpegurl",
            "video/mpegurl",
        )
    )
    needs = Needs.CHUNKS

    def scanner(self, context: Context) -> Scanner:
        """One scanner per playlist."""
        return _Scanner(context)


class _Scanner:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._variables: dict[str, str] = {}
        self._inside = False  # inside a line that is too long to be rewritten

    def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
        edits: list[Edit] = []
        start = 0
        if self._inside:
            newline = _NEWLINE.search(window)
            if newline is None:
                return len(window), edits
            self._inside, start = False, newline.end()
        end = len(window) if final else max(window.rfind(b"\n"), window.rfind(b"\r"), start - 1) + 1
        for line in _LINE.finditer(window, start, end):
            if len(line[0]) <= _LONGEST_LINE:
                self._line(line[0], line.start(), edits)
        if len(window) - end > _LONGEST_LINE:
            self._inside, end = True, len(window)
        return end, edits

    def _line(self, text: bytes, start: int, edits: list[Edit]) -> None:
        if text.startswith(_DEFINE):
            self._define(text, start, edits)
            return
        if text.startswith(b"#"):
            for uri in islice(_URI.finditer(text), _MOST):
                self._map(uri[1], start + uri.start(1), edits)
            return
        bare = text.strip(_SPACE)
        if bare:
            self._map(bare, start + text.index(bare), edits)

    def _define(self, text: bytes, start: int, edits: list[Edit]) -> None:
        """Remember a variable; map a value that is an absolute URL."""
        pairs = {pair[1]: pair for pair in islice(_PAIR.finditer(text), _MOST_VARIABLES)}
        name, value, parameter = (pairs.get(key) for key in (b"NAME", b"VALUE", b"QUERYPARAM"))
        if len(self._variables) >= _MOST_VARIABLES:
            return
        if parameter is not None:
            query = parse_qs(urlsplit(self._context.url).query, max_num_fields=_MOST)
            wanted = _text(parameter[2])
            if wanted in query:
                self._variables[wanted] = query[wanted][0]
        elif name is not None and value is not None:
            old = new = _text(value[2])
            if _ABSOLUTE.match(old):
                new = self._context.map(old)
            if new != old:
                edits.append(Edit(start + value.start(2), start + value.end(2), _bytes(new)))
            self._variables[_text(name[2])] = new

    def _substituted(self, text: str) -> str:
        """The URL with the variables in it; unknown ones (imported) stay."""
        if "{$" not in text:
            return text
        new = _VARIABLE.sub(lambda found: self._variables.get(found[1], found[0]), text)
        return new if len(new) <= _LONGEST_VALUE else text

    def _map(self, raw: bytes, place: int, edits: list[Edit]) -> None:
        text = _text(raw)
        old = self._substituted(text)
        new = self._context.map(old)
        if new != old:
            edits.append(Edit(place, place + len(raw), _bytes(new)))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

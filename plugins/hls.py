"""HLS playlists (RFC 8216): segment lines and ``URI`` attributes, line by line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from zenzefi.plugins import Context, Edit, Match, Needs, Plugin, Scanner

_URI = re.compile(rb"[,:][ \t]*(?:[A-Z0-9]+-)*(?:URI|ASSET-LIST)=\"([^\"\r\n]*)\"")
# Lines that may have a URL: without a tag, or a tag with a URI. Other lines are skipped in C.
_LINE = re.compile(
    rb"(?:^(?!\xef\xbb\xbf)|(?<=^\xef\xbb\xbf))"
    rb"(?:[^#\r\n][^\r\n]*|#[^\r\n]*?(?:URI|ASSET-LIST)=[^\r\n]*)",
    re.M,
)
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
        if text.startswith(b"#"):
            for uri in islice(_URI.finditer(text), _MOST):
                self._map(uri[1], start + uri.start(1), edits)
            return
        bare = text.strip(_SPACE)
        if bare:
            self._map(bare, start + text.index(bare), edits)

    def _map(self, raw: bytes, place: int, edits: list[Edit]) -> None:
        old = raw.decode("utf-8", "surrogateescape")
        new = self._context.map(old)
        if new != old:
            edits.append(Edit(place, place + len(raw), new.encode("utf-8", "surrogateescape")))

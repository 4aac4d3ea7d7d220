"""The way back for the content of a request: which parts of it are text, and their mapping.

The declared type decides. HTML, JSON, plain text and forms are mapped as a whole
(:mod:`zenzefi.rewriting.way_back`), of ``multipart/form-data`` (RFC 7578) the text fields: files
pass unchanged. A content that is not clearly framed or not ASCII-compatible passes unchanged.
"""

from __future__ import annotations

import re
from typing import Protocol

from zenzefi.rewriting import charset, sniff
from zenzefi.rewriting.way_back import WayBack, WayBackStream

MULTIPART = "multipart/form-data"
_MOST_HEAD = 16 * 1024
"""Bytes of the head of a part; a longer one is not a head."""
_BOUNDARY = re.compile(
    r""";[ \t]*boundary=(?:"([0-9A-Za-z'()+_,\-./:=? ]{1,70})"|([0-9A-Za-z'+_\-.]{1,70}))[ \t]*"""
    r"(?=;|$)",
    re.I,
)
_BEHIND_DELIMITER = re.compile(rb"[ \t]*\r\n|--")
_BEGUN = re.compile(rb"[ \t]*[\r-]?\Z")
_QUOTED = re.compile(rb'"(?:[^"\\\r\n]|\\[^\r\n])*"')
_FILE = re.compile(rb";[ \t]*filename\*?[ \t]*=", re.I)
_FIELD = re.compile(rb"^([A-Za-z0-9-]+):[ \t]*([^\r\n]*)", re.M)
_TEXT = re.compile(r"text/[a-z0-9.+-]+|application/(?:[a-z0-9.+-]+\+)?json")
_IDENTITY = (b"", b"7bit", b"8bit", b"binary")


class ContentWayBack(Protocol):
    """A content on its way from the browser's view to the upstream's."""

    def feed(self, data: bytes, *, is_last: bool) -> bytes:
        """The content that is settled after ``data``."""


def content_way_back(back: WayBack, content_type: str) -> ContentWayBack | None:
    """The mapping for a content of a type; ``None`` if it passes unchanged."""
    if charset.label(content_type).startswith(("utf-16", "utf-32", "utf16", "utf32", "ucs-")):
        return None
    if sniff.essence(content_type) != MULTIPART:
        return WayBackStream(back)
    boundaries = _BOUNDARY.findall(content_type)
    if len(boundaries) != 1 or content_type.lower().count("boundary") != 1:
        return None
    return FormData(back, (boundaries[0][0] or boundaries[0][1]).encode())


class FormData:
    """Maps the text fields of ``multipart/form-data`` and passes everything else."""

    def __init__(self, back: WayBack, boundary: bytes) -> None:
        self._back = back
        self._delimiter = b"\r\n--" + boundary
        self._data = b"\r\n"  # the first delimiter has no line end before it
        self._at = 0  # what is before has been passed on
        self._added = len(self._data)  # bytes that are not part of the content
        self._in_head = False
        self._has_ended = False
        self._field: WayBackStream | None = None

    def feed(self, data: bytes, *, is_last: bool) -> bytes:
        """See :class:`ContentWayBack`."""
        self._data, self._at = self._data[self._at :] + data, 0
        out: list[bytes] = []
        while self._step(out, is_last=is_last):
            pass
        if is_last:
            out += [self._passed(b"", is_last=True), self._data[self._at :]]
            self._data, self._at = b"", 0
        joined = b"".join(out)
        added = min(self._added, len(joined))
        self._added -= added
        return joined[added:]

    def _step(self, out: list[bytes], *, is_last: bool) -> bool:
        """Whether there may be more to do with what is here."""
        if self._has_ended:
            out.append(self._data[self._at :])
            self._at = len(self._data)
            return False
        if self._in_head:
            return self._read_head(out)
        behind = self._take_value(out, is_last=is_last)
        if behind is None:
            return False
        out.append(self._passed(b"", is_last=True))
        self._field = None
        self._in_head = True
        self._has_ended = behind == b"--"
        return True

    def _take_value(self, out: list[bytes], *, is_last: bool) -> bytes | None:
        """Pass a value on, up to its delimiter. Returns the bytes behind it, ``None`` without one.

        Texts may contain the delimiter with other bytes behind it: of a longer boundary.
        """
        data, size, seen = self._data, len(self._delimiter), self._at
        while (at := data.find(self._delimiter, seen)) >= 0:
            seen = at + size
            behind = _BEHIND_DELIMITER.match(data, seen)
            if behind is not None or (not is_last and _is_begun(data, seen)):
                self._take(out, at)
                return behind[0] if behind is not None else None
        self._take(out, max(seen, len(data) - (0 if is_last else size - 1)))
        return None

    def _take(self, out: list[bytes], end: int) -> None:
        """Pass on the bytes of a value up to ``end``."""
        if end > self._at:
            out.append(self._passed(self._data[self._at : end], is_last=False))
            self._at = end

    def _passed(self, data: bytes, *, is_last: bool) -> bytes:
        return data if self._field is None else self._field.feed(data, is_last=is_last)

    def _read_head(self, out: list[bytes]) -> bool:
        """From the delimiter to the empty line behind the fields of a part."""
        begin = self._at + len(self._delimiter)
        end = self._data.find(b"\r\n\r\n", begin)
        if end < 0:
            self._has_ended = len(self._data) - self._at > _MOST_HEAD  # not a form: pass the rest
            return self._has_ended
        head = self._data[begin : end + 2]
        out.append(self._data[self._at : end + 4])
        # The line end behind an empty value belongs to the next delimiter.
        self._at = end + 4
        self._in_head = False
        self._field = WayBackStream(self._back) if _is_text(head) else None
        return True


def _is_begun(data: bytes, end: int) -> bool:
    """Whether more bytes may make a delimiter of what ends at ``end``."""
    return len(data) - end < _MOST_HEAD and _BEGUN.match(data, end) is not None


def _is_text(head: bytes) -> bool:
    """Whether the head of a part is that of a text field (RFC 7578, 4.2 and 4.4)."""
    fields = {name.lower(): value.strip() for name, value in _FIELD.findall(head)}
    disposition = _QUOTED.sub(b'""', fields.get(b"content-disposition", b""))
    if not disposition.lower().startswith(b"form-data") or _FILE.search(disposition):
        return False
    if fields.get(b"content-transfer-encoding", b"").lower() not in _IDENTITY:
        return False
    declared = fields.get(b"content-type", b"text/plain").decode("latin-1")
    if charset.label(declared).startswith(("utf-16", "utf-32")):
        return False
    return _TEXT.fullmatch(sniff.essence(declared)) is not None

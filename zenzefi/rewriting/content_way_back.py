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
        self._added = len(self._data)  # bytes that are not part of the content
        self._in_head = False
        self._has_ended = False
        self._field: WayBackStream | None = None

    def feed(self, data: bytes, *, is_last: bool) -> bytes:
        """See :class:`ContentWayBack`."""
        self._data += data
        out: list[bytes] = []
        while self._step(out, is_last=is_last):
            pass
        if is_last:
            out += [self._passed(b"", is_last=True), self._data]
            self._data = b""
        joined = b"".join(out)
        added = min(self._added, len(joined))
        self._added -= added
        return joined[added:]

    def _step(self, out: list[bytes], *, is_last: bool) -> bool:
        """Whether there may be more to do with what is here."""
        if self._has_ended:
            out.append(self._data)
            self._data = b""
            return False
        if self._in_head:
            return self._read_head(out)
        at = self._data.find(self._delimiter)
        if at < 0:
            self._take(out, len(self._data) - (0 if is_last else len(self._delimiter) - 1))
            return False
        end = at + len(self._delimiter)
        behind = _BEHIND_DELIMITER.match(self._data, end)
        if behind is None:
            may_be_one = not is_last and _is_begun(self._data[end : end + _MOST_HEAD])
            self._take(out, at if may_be_one else end)  # or a longer boundary in a text
            return not may_be_one
        self._take(out, at)
        out.append(self._passed(b"", is_last=True))
        self._field = None
        self._in_head = True
        self._has_ended = behind[0] == b"--"
        return True

    def _take(self, out: list[bytes], size: int) -> None:
        """Pass on the next bytes of a value."""
        if size > 0:
            out.append(self._passed(self._data[:size], is_last=False))
            self._data = self._data[size:]

    def _passed(self, data: bytes, *, is_last: bool) -> bytes:
        return data if self._field is None else self._field.feed(data, is_last=is_last)

    def _read_head(self, out: list[bytes]) -> bool:
        """From the delimiter to the empty line behind the fields of a part."""
        end = self._data.find(b"\r\n\r\n", len(self._delimiter))
        if end < 0:
            self._has_ended = len(self._data) > _MOST_HEAD  # not a form: pass the rest
            return self._has_ended
        head = self._data[len(self._delimiter) : end + 2]
        out.append(self._data[: end + 4])
        # The line end behind an empty value belongs to the next delimiter.
        self._data = self._data[end + 4 :]
        self._in_head = False
        self._field = WayBackStream(self._back) if _is_text(head) else None
        return True


def _is_begun(behind: bytes) -> bool:
    """Whether more bytes may make a delimiter of what precedes ``behind``."""
    return len(behind) < _MOST_HEAD and behind.strip(b" \t") in (b"", b"\r", b"-")


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

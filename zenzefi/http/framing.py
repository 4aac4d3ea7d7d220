"""Where requests and their contents end (RFC 9112, 2.2, 4, 6 and 7.1). Pure.

The parser (llhttp) decides what is valid and how a content is framed. The scanners here only find
the ends, so that the parser never gets a byte of the next request too early. A scanner stops at
unexpected input, and the caller then reads no further request.
"""

from __future__ import annotations

import re

MAX_LINE = 8 * 1024
"""Bytes of a chunk-size line with its extensions, or of one trailer line."""
MAX_TRAILERS = 64 * 1024
"""Bytes of the trailer section."""

# RFC 9112, 7.1: chunk-size [ chunk-ext ] CRLF. 15 digits stay below 2 ** 63.
_CHUNK_LINE = re.compile(rb"0*([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\r\n]*)?\r\n")
_HEAD_END = b"\r\n\r\n"
_VERSIONS = (b" HTTP/1.1\r", b" HTTP/1.0\r")
_VERSION_SIZE = len(_VERSIONS[0])

STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?")
"""RFC 9112, 4, and RFC 9110, 15: version, status, reason phrase.

The space before an empty reason phrase may be missing, as it is from many servers.
"""

_LENGTH = re.compile(rb"[0-9]{1,18}")


def length_of(value: bytes) -> int | None:
    """A Content-Length in bytes; ``None`` if malformed (RFC 9110, 8.6) or beyond 18 digits."""
    return int(value) if _LENGTH.fullmatch(value) else None


class HeadEnd:
    """Finds the end of a head that arrives in pieces."""

    __slots__ = ("_carry", "size")

    def __init__(self) -> None:
        self._carry = b""  # the last bytes, which may hold the beginning of the end
        self.size = 0
        """Bytes so far."""

    def find(self, data: bytes) -> int:
        """How many bytes of ``data`` belong to the head; -1: all of them, and it is incomplete."""
        carry = self._carry
        if carry:
            at = (carry + data[:3]).find(_HEAD_END)
            if at >= 0:
                end = at + 4 - len(carry)
                self.size += end
                return end
        at = data.find(_HEAD_END)
        if at >= 0:
            self.size += at + 4
            return at + 4
        self.size += len(data)
        self._carry = (carry + data[-3:])[-3:]
        return -1


class FirstLine:
    """Keeps the end of a head's first line, where the version is; the line arrives in pieces."""

    __slots__ = ("_is_complete", "_tail", "size")

    def __init__(self) -> None:
        self._is_complete = False
        self._tail = b""
        self.size = 0
        """Bytes of the line so far, its line end included."""

    def feed(self, data: bytes) -> None:
        """The next bytes of the head."""
        if self._is_complete:
            return
        end = data.find(b"\n")
        self._is_complete = end >= 0
        line = data[:end] if end >= 0 else data
        self.size += len(line) + self._is_complete
        self._tail = (self._tail + line[-_VERSION_SIZE:])[-_VERSION_SIZE:]

    @property
    def is_http(self) -> bool:
        """Whether the line has ended with HTTP/1.0 or HTTP/1.1 (RFC 9112, 2.3)."""
        return self._is_complete and self._tail in _VERSIONS


class SizedEnd:
    """Finds the end of a content with a Content-Length."""

    __slots__ = ("_left", "is_complete")

    is_broken = False

    def __init__(self, length: int) -> None:
        self._left = length
        self.is_complete = not length

    def feed(self, data: bytes) -> int:
        """How many bytes of ``data`` belong to the content."""
        used = min(self._left, len(data))
        self._left -= used
        self.is_complete = not self._left
        return used


class ChunkedEnd:
    """Finds the end of a chunked content, its trailer section included."""

    __slots__ = ("_is_in_trailers", "_left", "_line", "_trailers", "is_broken", "is_complete")

    def __init__(self) -> None:
        self._left = 0  # bytes of the current chunk with the CRLF behind it
        self._line = b""  # an unfinished line
        self._is_in_trailers = False
        self._trailers = 0
        self.is_complete = False
        self.is_broken = False
        """Whether the framing is malformed (RFC 9112, 7.1), so that the end is unknown."""

    def feed(self, data: bytes) -> int:
        """How many bytes of ``data`` belong to the content."""
        position, size = 0, len(data)
        while position < size and not self.is_complete and not self.is_broken:
            if self._left:
                step = min(self._left, size - position)
                self._left -= step
                position += step
                continue
            end = data.find(b"\n", position) + 1
            if not end:
                self._line += data[position:]
                position = size
                self.is_broken = len(self._line) > MAX_LINE
            else:
                line = self._line + data[position:end]
                self._line = b""
                position = end
                self._end_line(line)
        return position

    def _end_line(self, line: bytes) -> None:
        if self._is_in_trailers:
            self._trailers += len(line)
            self.is_complete = line == b"\r\n"
            self.is_broken = self._trailers > MAX_TRAILERS or not line.endswith(b"\r\n")
            return
        match = _CHUNK_LINE.fullmatch(line)
        if match is None or len(line) > MAX_LINE:
            self.is_broken = True
            return
        length = int(match[1], 16)
        self._is_in_trailers = not length
        self._left = length + 2 if length else 0

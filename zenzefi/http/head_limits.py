"""Limits of a request's head: its first line (414), its header lines and their number (431).

A head beyond the limits is still read, up to :data:`MAX_HEAD`, because a browser that stores too
many cookies sends them again with every request: the response must be a page in the visitor's
language that can remove them. RFC 9110, 15.5.15 and RFC 6585, 5.
"""

from __future__ import annotations

from zenzefi.errors import GateError

LINE = 16 * 1024
"""Default limit of the request line, in bytes."""
HEADERS = 64 * 1024
"""Default limit of all header lines, in bytes."""
HEADER_LINES = 128
"""Default limit of the number of header lines."""
MAX_HEADER_LINES = 4096
"""Header lines that are read of any head."""
MAX_HEAD = 1024 * 1024
"""Bytes that are read of any head. A browser stores about 180 cookies of 4 kB for one site."""
MAX_LONG_HEADS = 32
"""Heads beyond the limits that one process reads at a time, because they occupy memory."""


class UriTooLong(GateError):
    """The request line is longer than ``REQUEST_LINE_LIMIT``."""

    status = 414
    code = "uri_too_long"
    default = "The address of this request is too long."


class HeadersTooLarge(GateError):
    """The header lines are longer than ``REQUEST_HEADERS_LIMIT``, or more than
    ``REQUEST_HEADER_LINES_LIMIT``."""

    status = 431
    code = "headers_too_large"
    default = "The headers of this request are too large. Most often these are its cookies."


class HeadLimits:
    """The limits of one server, and the connections on which a longer head arrives."""

    __slots__ = ("_long", "header_lines", "headers", "line")

    def __init__(
        self, line: int = LINE, headers: int = HEADERS, header_lines: int = HEADER_LINES
    ) -> None:
        self.line = line
        """Bytes of the request line, without its line end."""
        self.headers = headers
        """Bytes of all header lines with their line ends."""
        self.header_lines = header_lines
        """Number of header lines."""
        self._long: set[object] = set()

    def may_read(self, connection: object, size: int) -> bool:
        """Whether more of a head may be read on ``connection``; ``size``: bytes so far."""
        if size <= self.line + self.headers or connection in self._long:
            return size <= MAX_HEAD
        if size > MAX_HEAD or len(self._long) >= MAX_LONG_HEADS:
            return False
        self._long.add(connection)
        return True

    def end(self, connection: object) -> None:
        """The head on ``connection`` is complete, or it is refused."""
        self._long.discard(connection)

    def problem(self, line: int, headers: int, header_lines: int) -> GateError | None:
        """The error for a head with parts of these sizes in bytes, and so many header lines."""
        if line > self.line:
            return UriTooLong()
        is_larger = headers > self.headers or header_lines > self.header_lines
        return HeadersTooLarge() if is_larger else None

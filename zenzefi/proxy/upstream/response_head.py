"""Reads the head of a response: strictly first, and leniently for an upstream that needs it. Pure.

Some servers write heads that a strict parser rejects, although their meaning is clear: lines that
end with a single LF, empty lines before the status line, control characters in values. The lenient
parser accepts the same heads as aiohttp's client.

Theory of operation
-------------------

The strict parser (llhttp, through httptools) reads a head first. Only if it rejects the head,
:func:`tidied` finds the end of the head once more, refuses what two parsers could read differently,
and returns the same head with CRLF line ends. From then on nothing depends on how the upstream
wrote it: the strict parser reads the tidy head, or the lenient one if a value holds control
characters. The upstream gets no second request.

Both parsers refuse: another protocol, a malformed status line or name, a bare CR, obs-fold and NUL
(RFC 9112, 2.2 and 5.2; RFC 9110, 5.5), different lengths, a length in addition to chunks, and any
transfer coding but one ``chunked`` (RFC 9112, 6.1 and 6.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple, Protocol

import httptools

from zenzefi.errors import UpstreamProtocolError
from zenzefi.http.framing import STATUS_LINE, length_of
from zenzefi.proxy.headers.pairs import Pairs

MAX_HEAD = 256 * 1024
"""Bytes of a head."""
_MAX_LINE = 64 * 1024
_MAX_LINES = 257  # the status line and 256 headers
_SMALL = 1024  # bytes; a shorter head is within all limits, as no line is shorter than "a:"
_VERSION = b"HTTP/1."
# RFC 9112, 2.2: a recipient may take a single LF for the end of a line.
_END = re.compile(rb"\n\r?\n")
# A bare CR, obs-fold and NUL (RFC 9112, 2.2 and 5.2; RFC 9110, 5.5).
_AMBIGUOUS = re.compile(rb"\r(?!\n)|\n[ \t]|\x00")
SLOPPY_SECONDS = 60.0
"""How long an upstream is remembered as one that needs the lenient parser."""


class HeadFacts(Protocol):
    """The facts of a head that decide about the connection."""

    @property
    def status(self) -> int:
        """The status code."""

    @property
    def length(self) -> int:
        """The Content-Length in bytes, -1 if there is none."""

    @property
    def is_chunked(self) -> bool:
        """Whether the body is chunked."""

    @property
    def may_reuse(self) -> bool:
        """Whether another exchange may follow on the connection (RFC 9112, 9.3)."""

    def plain(self, head: bytes) -> PlainHead:
        """The same head as pairs; ``head``: its bytes."""


class HeadReader(Protocol):
    """Reads complete heads, up to and including their empty lines."""

    def read(self, head: bytes) -> HeadFacts:
        """Read a head strictly.

        Raises ``httptools.HttpParserError`` for a malformed head, ``HttpParserUpgrade`` for a 101
        that is not expected, and :class:`UpstreamProtocolError` for contradictory lines.
        """


class PlainHead(NamedTuple):
    """A head as raw pairs."""

    status: int
    length: int
    is_chunked: bool
    may_reuse: bool
    reason: bytes
    headers: Pairs

    def plain(self, _head: bytes) -> PlainHead:
        """See :class:`HeadFacts`."""
        return self


class PlainHeadReader:
    """Reads every head as pairs."""

    def read(self, head: bytes) -> PlainHead:
        """See :class:`HeadReader`; a 101 is returned as any other."""
        return read_plain(head)


def check_size(head: bytes) -> None:
    """Raise :class:`UpstreamProtocolError` for a head that is too long, or one of its lines."""
    if (
        len(head) > MAX_HEAD
        or head.count(b"\n") > _MAX_LINES + 1
        or (len(head) > _MAX_LINE and max(map(len, head.split(b"\n"))) > _MAX_LINE)
    ):
        raise UpstreamProtocolError


def may_begin_head(data: bytes | bytearray) -> bool:
    """Whether ``data`` is the beginning of an HTTP/1 response."""
    return data.startswith(_VERSION[: len(data)])


def tidied(data: bytes) -> tuple[bytes, int] | None:
    """The head at the beginning of ``data`` with CRLF line ends, and its size in ``data``.

    ``None``: it is incomplete. Raises :class:`UpstreamProtocolError` if it is ambiguous, or is not
    the head of an HTTP/1 response.
    """
    head = data.lstrip(b"\r\n")
    skipped = len(data) - len(head)
    if not may_begin_head(head):
        raise UpstreamProtocolError
    match = _END.search(head)
    if match is None:
        if len(head) > MAX_HEAD:
            raise UpstreamProtocolError
        return None
    head = head[: match.end()]
    line = head.partition(b"\n")[0].removesuffix(b"\r")
    if STATUS_LINE.fullmatch(line) is None or _AMBIGUOUS.search(head):
        raise UpstreamProtocolError
    return head.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), skipped + match.end()


def read_plain(head: bytes, *, is_lenient: bool = False) -> PlainHead:
    """Read a head as pairs.

    Raises ``httptools.HttpParserError`` for a malformed head and :class:`UpstreamProtocolError` for
    contradictory framing.
    """
    match = STATUS_LINE.match(head)
    if match is None or not head.startswith(b"\r\n", match.end()):
        raise httptools.HttpParserError("no status line")
    headers = parse_head(head, is_lenient=is_lenient)[1]
    return plain_head(int(match[2]), match[3] or b"", headers, is_http_10=match[1] == b"0")


def plain_head(status: int, reason: bytes, headers: Pairs, *, is_http_10: bool) -> PlainHead:
    """A head whose parts were validated. Raises :class:`UpstreamProtocolError` as above."""
    length, is_chunked, is_closing = framing_of(headers)
    # The forbidden content of a 204 may follow at any time. HTTP/1.0 is not persistent.
    is_last = is_closing or is_http_10 or (status == 204 and (is_chunked or length > 0))
    return PlainHead(status, length, is_chunked, not is_last, reason, headers)


def framing_of(headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, bool, bool]:
    """The Content-Length (-1: none), whether the body is chunked, and whether it says ``close``.

    Raises :class:`UpstreamProtocolError` for contradictory or unknown framing.
    """
    length, is_chunked, is_closing = -1, False, False
    for name, value in headers:
        low = name.lower()
        if low == b"content-length":
            # RFC 9112, 6.3: differing or unparsable lengths make the message unusable.
            found = length_of(value)
            if found is None or length not in (-1, found):
                raise UpstreamProtocolError
            length = found
        elif low == b"transfer-encoding":
            # RFC 9112, 6.1: without TE only chunked is allowed, and only once.
            if is_chunked or value.lower() != b"chunked":
                raise UpstreamProtocolError
            is_chunked = True
        elif low == b"connection":
            options = (option.strip() for option in value.lower().split(b","))
            is_closing = is_closing or b"close" in options
    if is_chunked and length >= 0:
        raise UpstreamProtocolError  # RFC 9112, 6.3: both framings at once
    return length, is_chunked, is_closing


class HeadCollector:
    """Collects a head that arrives in pieces."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = bytearray()
        """The received bytes of an incomplete head."""

    def feed(self, data: bytes) -> tuple[bytes, int] | None:
        """The bytes so far and the size of the head in them, for :func:`read_head`.

        The size is 0 if the head does not end with an empty line of CRLF. ``None``: it is
        incomplete.
        """
        held, seen = self.held, len(self.held)
        if seen:
            held += data
        whole = held if seen else data
        end = whole.find(b"\r\n\r\n", max(0, seen - 3)) + 4
        if (
            end > 3
            or not may_begin_head(whole)
            or len(whole) > MAX_HEAD
            or _END.search(whole, max(0, seen - 2)) is not None
        ):
            self.held = bytearray()
            return bytes(whole), end if end > 3 else 0
        if not seen:
            held += data
        return None

    def keep(self, data: bytes) -> None:
        """Hold bytes that were returned, because the head is incomplete after all."""
        self.held = bytearray(data)


class FoundHead(NamedTuple):
    """A head that was read."""

    raw: bytes
    """The head with CRLF line ends."""
    size: int
    """Its bytes as they were received, with empty lines before it."""
    facts: HeadFacts
    is_sloppy: bool
    """Whether only the lenient parser accepts what was received."""


def read_head(reader: HeadReader, data: bytes, size: int) -> FoundHead | None:
    """Read the head at the beginning of ``data``, leniently if the strict parser refuses it.

    ``size``: as :meth:`HeadCollector.feed` returned it. ``None``: the head is incomplete. Raises
    ``httptools.HttpParserError`` or :class:`UpstreamProtocolError` for an invalid head.
    """
    if size:
        raw = data[:size]
        if size > _SMALL:
            check_size(raw)
        try:
            return FoundHead(raw, size, reader.read(raw), is_sloppy=False)
        except httptools.HttpParserUpgrade:
            raise UpstreamProtocolError from None  # an unsolicited 101
        except httptools.HttpParserError:
            pass
    tidy = tidied(data)
    if tidy is None:
        return None
    raw, size = tidy
    check_size(raw)
    try:
        facts = reader.read(raw)
    except httptools.HttpParserError:
        facts = read_plain(raw, is_lenient=True)
    return FoundHead(raw, size, facts, is_sloppy=True)


class _NoCallbacks:
    """Receives no callbacks from the C parser."""

    __slots__ = ()


class _HeaderCollector:
    """Receives the reason phrase and the headers from the C parser."""

    def __init__(self) -> None:
        self.reason = b""
        self.pairs: Pairs = []

    def on_status(self, reason: bytes) -> None:
        """Called by httptools with a part of the reason phrase."""
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools with one header."""
        self.pairs.append((name, value.rstrip(b" \t")))


_NO_CALLBACKS = _NoCallbacks()


def validate_head(head: bytes) -> None:
    """Raise ``httptools.HttpParserError`` unless this is exactly one well-formed head."""
    httptools.HttpResponseParser(_NO_CALLBACKS).feed_data(head)


def parse_head(head: bytes, *, is_lenient: bool = False) -> tuple[bytes, Pairs]:
    """Return the reason phrase and the headers; raises ``httptools.HttpParserError``.

    ``is_lenient``: values may hold control characters.
    """
    collector = _HeaderCollector()
    parser = httptools.HttpResponseParser(collector)
    if is_lenient:
        parser.set_dangerous_leniencies(lenient_headers=True)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:  # a 101; its head is complete
        return collector.reason, collector.pairs
    return collector.reason, collector.pairs

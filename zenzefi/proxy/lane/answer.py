"""The head of an answer, taken apart line by line; every line seen before costs one look-up.

Pure. The whole head is judged by the C parser (llhttp through httptools, in its strict mode)
before any line of it is believed; the table of lines only remembers what the header policy of
``zenzefi.proxy.headers`` made of each, so the lane and the general way can't differ.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import NamedTuple

import httptools

from zenzefi.proxy.headers import Pairs, response_headers
from zenzefi.rewriting.mount import Mount, MountKind, Origin

_MAX_ROWS = 4096  # remembered lines of one mount
_MAX_ROW = 512  # bytes; longer lines are worked out anew each time
# RFC 9112, 5: field-name ":" OWS field-value OWS; the value without control characters.
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")


class Kind(enum.IntEnum):
    """What a line of an answer's head means to the lane."""

    PLAIN = 0
    LENGTH = 1
    CHUNKED = 2
    TYPE = 3
    REFUSED = 4  # a coding that was not asked for (RFC 9112, 6.1)
    UNUSUAL = 5  # the general way's: rewriting, redirects, foreign framing


class Row(NamedTuple):
    """One remembered line: what leaves in its place, and what it means."""

    out: bytes
    kind: Kind
    length: int = 0


class Rows:
    """What becomes of each line of the upstream's heads at one mount.

    ``is_claimed`` says of a content type that a rewriter might want it; ``engine_names`` are the
    lower-case names whose values only the rewriting engine can map.
    """

    def __init__(
        self,
        upstream: Origin,
        mount: Mount,
        is_claimed: Callable[[bytes], bool],
        engine_names: frozenset[bytes],
    ) -> None:
        self.upstream = upstream
        self.mount = mount
        self._is_claimed = is_claimed
        self._engine_names = engine_names
        self.known: dict[bytes, Row] = {}

    def learn(self, line: bytes) -> Row:
        """Work one line out, and remember it while there is room."""
        row = self._row(line)
        if len(line) <= _MAX_ROW:
            if len(self.known) >= _MAX_ROWS:
                self.known.clear()
            self.known[line] = row
        return row

    def _row(self, line: bytes) -> Row:
        if line.startswith(b"HTTP/"):  # the C parser has judged the whole head before
            return Row(b"HTTP/1.1 %b %b\r\n" % (line[9:12], line[13:]), Kind.PLAIN)
        match = _LINE.fullmatch(line)
        if match is None:
            return Row(b"", Kind.UNUSUAL)
        name, value = match[1], match[2].rstrip(b" \t")
        low = name.lower()
        if low == b"content-length":
            return Row(b"", Kind.LENGTH, int(value)) if value.isdigit() else _UNUSUAL
        if low == b"transfer-encoding":
            return Row(b"", Kind.CHUNKED if value.lower() == b"chunked" else Kind.REFUSED)
        if low == b"connection":
            # Other names listed here make more lines hop-by-hop (RFC 9110, 7.6.1).
            usual = value.lower() in (b"close", b"keep-alive")
            return Row(b"", Kind.PLAIN) if usual else _UNUSUAL
        if low in self._engine_names:
            return _UNUSUAL
        if low == b"content-encoding" and self.mount.kind is MountKind.CLIENT:
            return _UNUSUAL  # this client can't decode, so the gate does
        if low == b"content-type":
            if self._is_claimed(value):
                return _UNUSUAL
            return Row(b"%b: %b\r\n" % (name, value), Kind.TYPE)
        mapped = response_headers([(name, value)], self.upstream, self.mount)
        return Row(b"".join(b"%b: %b\r\n" % pair for pair in mapped), Kind.PLAIN)


_UNUSUAL = Row(b"", Kind.UNUSUAL)


class _Nothing:
    """Wants no callback of the parser."""

    __slots__ = ()


class _Collector:
    """Wants the header lines."""

    def __init__(self) -> None:
        self.reason = b""
        self.pairs: Pairs = []

    def on_status(self, reason: bytes) -> None:
        """Part of the reason phrase."""
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line."""
        self.pairs.append((name, value.rstrip(b" \t")))


_NOTHING = _Nothing()


def parse(head: bytes) -> httptools.HttpResponseParser:
    """Judge a whole head; raises ``httptools.HttpParserError`` for anything that is not one."""
    parser = httptools.HttpResponseParser(_NOTHING)
    parser.feed_data(head)
    return parser


def collect(head: bytes) -> tuple[bytes, Pairs]:
    """Reason phrase and header lines of a head that :func:`parse` has judged."""
    collector = _Collector()
    httptools.HttpResponseParser(collector).feed_data(head)
    return collector.reason, collector.pairs

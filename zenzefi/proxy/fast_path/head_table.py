"""The head of an answer, taken apart line by line; every line seen before costs one look-up.

Pure. A head that holds a new line is judged by the C parser (llhttp through httptools, in its
strict mode) before any line of it is believed; the table of lines only remembers what the header
policy of ``zenzefi.proxy.headers.rules`` made of each, so the two paths can't differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import httptools

from zenzefi.errors import UpstreamProtocolError
from zenzefi.http.framing import STATUS_LINE, length_of
from zenzefi.http_syntax import TOKEN_BYTES
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.proxy.headers.rules import PRIVATE, Pairs, private_cache_control, response_headers
from zenzefi.proxy.upstream.connection_auth import is_challenged

_MAX_ROWS = 4096  # remembered lines of one mount
_MAX_ROW = 512  # bytes; longer lines are worked out anew each time
# RFC 9112, 5: field-name ":" OWS field-value OWS; the value without control characters.
_LINE = re.compile(b"(" + TOKEN_BYTES.pattern + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")

# What a line of a response's head means to the fast path. Plain numbers: comparing members of an
# enum would cost more than everything else that is done with a line.
_PLAIN = 0
_STATUS = 1  # the status line; ``HeadRow.number`` is the status
_OLD_STATUS = 2  # the same of HTTP/1.0, which closes its connections
_LENGTH = 3  # ``HeadRow.number`` is the length
_CHUNKED = 4
_TYPE = 5
_CACHE = 6
_CLOSING = 7  # nothing may follow on this connection
_REFUSED = 8  # a malformed length, or a coding that was not asked for (RFC 9112, 6.1 and 6.3)
_UNUSUAL = 9  # the standard path's: rewriting, redirects, foreign framing


class HeadRow(NamedTuple):
    """One remembered line: what it means, and what leaves in its place."""

    kind: int
    out: bytes = b""
    number: int = 0


class Head(NamedTuple):
    """A head as the fast path understands it."""

    status: int
    lines: list[bytes]
    """As they leave, without those of the body's framing."""
    length: int
    """The Content-Length, -1 where none was said."""
    is_chunked: bool
    is_usual: bool
    """Whether the fast path may pass it on: a typed answer (or a 204) without unusual lines."""
    may_reuse: bool
    """Whether another exchange may follow on the connection (RFC 9112, 9.3)."""


class HeadTable:
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
        self._known: dict[bytes, HeadRow] = {}

    def read(self, head: bytes) -> Head:
        """Understand a whole head, its empty line included.

        A head with a line that is new is judged by the C parser first. One made of lines that have
        all been judged before is well-formed by itself: what lines mean together is checked here.

        Raises ``httptools.HttpParserError`` for what is no head (``HttpParserUpgrade`` for a 101),
        ``UpstreamProtocolError`` for two framings that contradict each other.
        """
        known = self._known
        lines = head[:-4].split(b"\r\n")
        try:
            rows = [known[line] for line in lines]
        except KeyError:
            rows = self._judged(head, lines)
        status, length = 0, -1
        is_chunked = is_typed = is_kept = is_unusual = is_closing = False
        for index, (kind, out, number) in enumerate(rows):
            lines[index] = out
            if not kind:
                continue
            if kind == _LENGTH:
                if length not in (-1, number):
                    raise UpstreamProtocolError  # RFC 9112, 6.3 rule 5
                length = number
            elif kind == _TYPE:
                is_typed = True
            elif kind == _CACHE:
                is_kept = True
            elif kind == _STATUS and not index:
                status = number
            elif kind == _OLD_STATUS and not index:
                status, is_closing = number, True
            elif kind == _CHUNKED and not is_chunked:  # chunks of chunks are refused below
                is_chunked = True
            elif kind == _CLOSING:
                is_closing = True
            elif kind == _UNUSUAL:
                is_unusual = True
            else:
                raise UpstreamProtocolError
        # Both framings are an attack or a bug (RFC 9112, 6.3 rule 3).
        if (is_chunked and length >= 0) or not status or status == 101:
            raise UpstreamProtocolError
        if not is_kept:
            lines.append(_PRIVATE)
        is_usual = not is_unusual and (is_typed or status in _UNTYPED)
        # The forbidden content of a 204 may follow at any time.
        may_reuse = not (is_closing or (status == 204 and (is_chunked or length > 0)))
        return Head(status, lines, length, is_chunked, is_usual, may_reuse)

    def _judged(self, head: bytes, lines: list[bytes]) -> list[HeadRow]:
        """What the lines of a head mean that holds a new one, and remember them."""
        judge(head)
        if len(self._known) + len(lines) > _MAX_ROWS:
            self._known.clear()
        rows = [self._row(line) for line in lines]
        rows[0] = _status_row(lines[0])
        for line, row in zip(lines, rows, strict=True):
            if len(line) <= _MAX_ROW:
                self._known[line] = row
        return rows

    def _row(self, line: bytes) -> HeadRow:
        match = _LINE.fullmatch(line)
        if match is None:
            return HeadRow(_REFUSED) if line.lower().startswith(_FRAMING) else _FOREIGN
        name, value = match[1], match[2].rstrip(b" \t")
        low = name.lower()
        if is_challenged(((name, value),)):
            return _FOREIGN
        if low == b"content-length":
            length = length_of(value)
            return HeadRow(_REFUSED) if length is None else HeadRow(_LENGTH, number=length)
        if low == b"transfer-encoding":
            return HeadRow(_CHUNKED if value.lower() == b"chunked" else _REFUSED)
        if low == b"connection":
            # Other names listed here make more lines hop-by-hop (RFC 9110, 7.6.1).
            kinds = {b"close": _CLOSING, b"keep-alive": _PLAIN}
            return HeadRow(kinds.get(value.lower(), _UNUSUAL))
        if low in self._engine_names:
            return _FOREIGN
        if low == b"content-encoding" and self.mount.kind is MountKind.CLIENT:
            return _FOREIGN  # this client can't decode, so the gate does
        if low == b"content-type":
            # Event streams are the standard path's whoever asked for them: it ends them on drain.
            if self._is_claimed(value) or value.lower().startswith(b"text/event-stream"):
                return _FOREIGN
            return HeadRow(_TYPE, b"%b: %b\r\n" % (name, value))
        if low == b"cache-control":
            return HeadRow(_CACHE, b"%b: %b\r\n" % (name, private_cache_control(value)))
        mapped = response_headers([(name, value)], self.upstream, self.mount)
        return HeadRow(_PLAIN, b"".join(b"%b: %b\r\n" % pair for pair in mapped))


def _status_row(line: bytes) -> HeadRow:
    match = STATUS_LINE.fullmatch(line)
    if match is None:  # the parser skips empty lines before a head: there is none here
        raise httptools.HttpParserError("no status line")
    out = b"HTTP/1.1 %b %b\r\n" % (match[2], match[3] or b"")
    return HeadRow(_STATUS if match[1] == b"1" else _OLD_STATUS, out, int(match[2]))


_FOREIGN = HeadRow(_UNUSUAL)
_PRIVATE = b"%b: %b\r\n" % PRIVATE
_UNTYPED = (204, 304)
_FRAMING = (b"content-length", b"transfer-encoding")


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


def judge(head: bytes) -> None:
    """Raise ``httptools.HttpParserError`` unless this is exactly one well-formed head."""
    httptools.HttpResponseParser(_NOTHING).feed_data(head)


def collect(head: bytes) -> tuple[bytes, Pairs]:
    """Reason phrase and header lines of a head that :func:`judge` has let pass."""
    collector = _Collector()
    httptools.HttpResponseParser(collector).feed_data(head)
    return collector.reason, collector.pairs

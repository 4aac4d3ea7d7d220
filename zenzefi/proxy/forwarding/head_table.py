"""Reads the head of a response line by line; a line seen before costs one dictionary lookup.

The module does no I/O. If a head contains a new line, the C parser (llhttp through httptools, in
strict mode) validates the whole head before any of its lines is used. The table only stores the
results of the header policy (:mod:`zenzefi.proxy.headers.response`), so all requests get the same
headers.

Invariants:

- A line enters the table only from a head that the C parser accepted.
- A head made only of stored lines is well-formed line by line. Rules that concern several lines
  (two lengths, two framings, a status line that is not the first line) are checked for every head.
- The framing headers of the upstream never reach the client, whose connection writes its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import httptools

from zenzefi.errors import UpstreamProtocolError
from zenzefi.http.framing import STATUS_LINE, length_of
from zenzefi.http_syntax import TOKEN_BYTES
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.proxy.headers.response import PRIVATE, private_cache_control, response_headers
from zenzefi.proxy.upstream.connection_auth import is_challenged
from zenzefi.proxy.upstream.response_head import (
    PlainHead,
    plain_head,
    read_plain,
    validate_head,
)
from zenzefi.rewriting.headers import varying
from zenzefi.rewriting.origin_search import OriginSearch

_MAX_ROWS = 4096  # stored lines of one mount
_MAX_COMBINATIONS = 256  # of lines that concern the search of a body
_MAX_ROW = 512  # bytes; longer lines are not stored
# RFC 9112, 5: field-name ":" OWS field-value OWS; the value without control characters.
_LINE = re.compile(b"(" + TOKEN_BYTES.pattern + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")

# The kinds of lines. Plain integers: comparing members of an enum would cost more than all other
# work on a line.
_PLAIN = 0
_STATUS = 1  # the status line; ``HeadRow.number`` is the status
_STATUS_1_0 = 2  # the status line of HTTP/1.0: the connection is not persistent
_LENGTH = 3  # ``HeadRow.number`` is the length
_CHUNKED = 4
_CONTENT_TYPE = 5
_CACHE_CONTROL = 6
_CLOSING = 7  # Connection: close
_INVALID = 8  # a malformed length, or an unexpected transfer coding (RFC 9112, 6.1 and 6.3)
# Those from here on are looked at together (:func:`_found`); ``HeadRow.detail`` has the value.
_UNUSUAL = 9  # the engine decides: rewriting, redirects, hop-by-hop headers
_CODING = 10
_VARY = 11
_SEARCHED = 12  # a content type whose bodies may pass unchanged; ``detail`` is the search


class HeadRow(NamedTuple):
    """One stored line: its kind, and the bytes that replace it for the client."""

    kind: int
    out: bytes = b""
    number: int = 0
    detail: str | OriginSearch = ""
    pair: tuple[bytes, bytes] | None = None
    """The received name and value; ``None`` for the status line."""
    reason: bytes = b""
    """The reason phrase of a status line."""


class Head(NamedTuple):
    """The result of reading a head."""

    status: int
    lines: list[bytes]
    """The lines for the client, without the framing of the body."""
    length: int
    """The Content-Length in bytes, -1 if there is none."""
    is_chunked: bool
    is_usual: bool
    """Whether it needs no engine: no unusual line, and a type unless 204 or 304."""
    may_reuse: bool
    """Whether another exchange may follow on the connection (RFC 9112, 9.3)."""
    search: OriginSearch | None = None
    """Set if the body passes unchanged only if this finds nothing in it."""
    coding: str = ""
    """The Content-Encoding; known where there is a search."""
    rows: Sequence[HeadRow] = ()
    """Its stored lines."""

    def plain(self, head: bytes) -> PlainHead:
        """See :class:`HeadFacts`; without the parser where the lines are known."""
        status, *rows = self.rows
        pairs = [row.pair for row in rows if row.pair is not None]
        if len(pairs) != len(rows):
            return read_plain(head)
        is_http_10 = status.kind == _STATUS_1_0
        return plain_head(self.status, status.reason, pairs, is_http_10=is_http_10)

    def finds(self, body: bytes) -> bool:
        """Whether the whole body must be rewritten."""
        return self.search is not None and self.search.finds(body, self.coding)


class HeadTable:
    """The lines of the upstream's heads at one mount, and the lines that replace them.

    ``may_rewrite`` tells whether bodies of a content type may be rewritten, and ``search`` returns
    the search that tells it of a body; ``engine_names`` are the lower-case names of headers whose
    values only the rewriting engine can map.
    """

    def __init__(
        self,
        upstream: Origin,
        mount: Mount,
        may_rewrite: Callable[[bytes], bool],
        engine_names: frozenset[bytes],
        search: Callable[[bytes], OriginSearch | None] = lambda _: None,
        *,
        is_hooked: bool = False,
    ) -> None:
        self.upstream = upstream
        self.mount = mount
        self._may_rewrite = may_rewrite
        self._search = search
        self._is_hooked = is_hooked  # a plugin may change any head
        self._engine_names = engine_names
        self._known: dict[bytes, HeadRow] = {}
        self._combinations: dict[tuple[tuple[HeadRow, ...], int, bool], _Found] = {}

    def read(self, head: bytes) -> Head:
        """Read a complete head, up to and including its empty line.

        Raises ``httptools.HttpParserError`` for a malformed head (``HttpParserUpgrade`` for a 101)
        and ``UpstreamProtocolError`` for contradictory lines (RFC 9112, 6.3).
        """
        known = self._known
        lines = head[:-4].split(b"\r\n")
        try:
            rows = list(map(known.__getitem__, lines))
        except KeyError:
            rows = self._validated(head, lines)
        status, length = 0, -1
        is_chunked = has_type = has_cache_control = is_closing = False
        details: tuple[HeadRow, ...] = ()
        for index, row in enumerate(rows):
            kind = row.kind
            lines[index] = row.out
            if not kind:
                continue
            if kind == _LENGTH:
                if length not in (-1, row.number):
                    raise UpstreamProtocolError  # RFC 9112, 6.3 rule 5
                length = row.number
            elif kind == _CONTENT_TYPE:
                has_type = True
            elif kind == _CACHE_CONTROL:
                has_cache_control = True
            elif kind == _STATUS and not index:
                status = row.number
            elif kind == _STATUS_1_0 and not index:
                status, is_closing = row.number, True
            elif kind == _CHUNKED and not is_chunked:  # chunked twice is an error, below
                is_chunked = True
            elif kind == _CLOSING:
                is_closing = True
            elif kind >= _UNUSUAL:
                details += (row,)
            else:
                raise UpstreamProtocolError
        # Both framings are an attack or a bug (RFC 9112, 6.3 rule 3).
        if (is_chunked and length >= 0) or not status or status == 101:
            raise UpstreamProtocolError
        if not has_cache_control:
            lines.append(_PRIVATE)
        found = self._combined(details, status, has_type) if details else _NOTHING
        lines += found.lines
        is_typed = has_type or found.search is not None or status in _UNTYPED
        is_usual = is_typed and not found.is_unusual and not self._is_hooked
        # The forbidden content of a 204 may follow at any time.
        may_reuse = not (is_closing or (status == 204 and (is_chunked or length > 0)))
        return Head(
            status, lines, length, is_chunked, is_usual, may_reuse, found.search, found.coding, rows
        )

    def _combined(self, details: tuple[HeadRow, ...], status: int, has_type: bool) -> _Found:
        """The result of :func:`_found`, remembered because the combinations repeat."""
        key = details, status, has_type
        found = self._combinations.get(key)
        if found is None:
            if len(self._combinations) >= _MAX_COMBINATIONS:
                self._combinations.clear()
            found = _found(details, status, has_type=has_type)
            self._combinations[key] = found
        return found

    def _validated(self, head: bytes, lines: list[bytes]) -> list[HeadRow]:
        """Validate a head that contains a new line, and store its lines."""
        validate_head(head)
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
            return HeadRow(_INVALID) if line.lower().startswith(_FRAMING) else _UNUSUAL_ROW
        name, value = match[1], match[2].rstrip(b" \t")
        return self._row_of(name, value)._replace(pair=(name, value))

    def _row_of(self, name: bytes, value: bytes) -> HeadRow:
        lower = name.lower()
        if is_challenged(((name, value),)):
            return _UNUSUAL_ROW
        if lower == b"content-length":
            length = length_of(value)
            return HeadRow(_INVALID) if length is None else HeadRow(_LENGTH, number=length)
        if lower == b"transfer-encoding":
            return HeadRow(_CHUNKED if value.lower() == b"chunked" else _INVALID)
        if lower == b"connection":
            # Other names listed here make more lines hop-by-hop (RFC 9110, 7.6.1).
            kinds = {b"close": _CLOSING, b"keep-alive": _PLAIN}
            return HeadRow(kinds.get(value.lower(), _UNUSUAL))
        if lower in self._engine_names:
            return _UNUSUAL_ROW
        if lower == b"content-encoding" and self.mount.kind is MountKind.CLIENT:
            return _UNUSUAL_ROW  # this client can't decode, so the gate does
        if lower == b"content-type":
            return self._content_type_row(name, value)
        if lower == b"cache-control":
            return HeadRow(_CACHE_CONTROL, b"%b: %b\r\n" % (name, private_cache_control(value)))
        mapped = response_headers([(name, value)], self.upstream, self.mount)
        kind = {b"content-encoding": _CODING, b"vary": _VARY}.get(lower, _PLAIN)
        detail = value.decode("latin-1")
        return HeadRow(kind, b"".join(b"%b: %b\r\n" % pair for pair in mapped), detail=detail)

    def _content_type_row(self, name: bytes, value: bytes) -> HeadRow:
        # Event streams end at drain and count in sessions while they last (``settle``).
        if value.lower().startswith(b"text/event-stream"):
            return _UNUSUAL_ROW
        mapped = response_headers([(name, value)], self.upstream, self.mount)
        line = b"".join(b"%b: %b\r\n" % pair for pair in mapped)
        if not self._may_rewrite(value):
            return HeadRow(_CONTENT_TYPE, line)
        search = self._search(value)
        return _UNUSUAL_ROW if search is None else HeadRow(_SEARCHED, line, detail=search)


class _Found(NamedTuple):
    """The result of combining the lines that concern the search of a body."""

    search: OriginSearch | None = None
    coding: str = ""
    lines: tuple[bytes, ...] = ()
    """Lines for a body that passes unchanged."""
    is_unusual: bool = False


_NOTHING = _Found()


def _found(rows: tuple[HeadRow, ...], status: int, *, has_type: bool) -> _Found:
    """Combine the lines of the kinds from ``_UNUSUAL`` on; ``has_type``: another type was named."""
    is_unusual = any(row.kind == _UNUSUAL for row in rows)
    searches = [row.detail for row in rows if isinstance(row.detail, OriginSearch)]
    if not searches or status in _UNTYPED:
        return _Found(searches[0] if searches else None, is_unusual=is_unusual)
    said = [("Vary", str(row.detail)) for row in rows if row.kind == _VARY]
    added = varying(said, searches[0].varies)[len(said) :]
    return _Found(
        searches[0],
        ", ".join(str(row.detail) for row in rows if row.kind == _CODING),
        tuple(b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in added),
        is_unusual=is_unusual or has_type or len(searches) > 1 or status in _UNSEARCHED,
    )


def _status_row(line: bytes) -> HeadRow:
    match = STATUS_LINE.fullmatch(line)
    if match is None:  # the C parser skips empty lines before a head, which are not allowed
        raise httptools.HttpParserError("no status line")
    out = b"HTTP/1.1 %b %b\r\n" % (match[2], match[3] or b"")
    kind = _STATUS if match[1] == b"1" else _STATUS_1_0
    return HeadRow(kind, out, int(match[2]), reason=match[3] or b"")


_UNUSUAL_ROW = HeadRow(_UNUSUAL)
_PRIVATE = b"%b: %b\r\n" % PRIVATE
_UNTYPED = (204, 304)
_UNSEARCHED = (205, 206)
_FRAMING = (b"content-length", b"transfer-encoding")

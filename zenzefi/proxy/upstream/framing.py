"""Removes the framing from the body of a response (RFC 9112, 6).

Spaces may follow a chunk size: some servers pad it, and that does not change where a body ends.
"""

from __future__ import annotations

import enum

import httptools

_CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Framing(enum.Enum):
    """How the end of a body is determined (RFC 9112, 6.3)."""

    NONE = 0  # no body, or the body is complete
    SIZED = 1
    CHUNKED = 2
    UNTIL_CLOSE = 3


class BodyFraming:
    """The framing of the current body on one connection, reused for the next one."""

    __slots__ = ("_pieces", "chunk_parser", "is_excess", "kind", "remaining")

    def __init__(self) -> None:
        self.kind = Framing.NONE
        self.remaining = 0
        """Bytes to come of a ``SIZED`` body."""
        self.chunk_parser: httptools.HttpResponseParser | None = None
        self.is_excess = False
        """Bytes came after the body, or a body that must not be: the connection is not reusable."""
        self._pieces: list[bytes] = []

    def begin(self, data: bytes, end: int, length: int, *, is_chunked: bool) -> bytes:
        """Start a body and return the part of it that came with the head.

        ``data``: the head up to ``end`` and the bytes after it; ``length``: the Content-Length in
        bytes, 0 for a response without content, -1 if there is none.

        Raises ``httptools.HttpParserError`` for a malformed chunk.
        """
        received = len(data) - end
        self.is_excess = False
        if received == length:  # the whole body came with the head
            self.kind = Framing.NONE
            return data[end:]
        if length > 0:
            self.kind = Framing.SIZED
            self.remaining = length
        elif not length:
            self.kind = Framing.NONE
            self.is_excess = True
            return b""
        elif is_chunked:
            self.kind = Framing.CHUNKED
            self.chunk_parser = parser = httptools.HttpResponseParser(self)
            parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)
            parser.feed_data(_CHUNKED_HEAD)
        else:
            self.kind = Framing.UNTIL_CLOSE
        return self.unframed(data[end:]) if received else b""

    def unframed(self, data: bytes) -> bytes:
        """Return ``data`` without its framing; ``kind`` becomes ``NONE`` at the end of the body.

        Raises ``httptools.HttpParserError`` for a malformed chunk.
        """
        framing = self.kind
        if framing is Framing.SIZED:
            remaining = self.remaining - len(data)
            if remaining > 0:
                self.remaining = remaining
                return data
            self.kind = Framing.NONE
            if remaining:
                self.is_excess = True
                return data[:remaining]
            return data
        if framing is Framing.UNTIL_CLOSE:
            return data
        chunks = self.chunk_parser
        if chunks is None:
            return b""
        try:
            chunks.feed_data(data)
        except httptools.HttpParserError:
            if self.kind is not Framing.NONE:
                raise
            self.is_excess = True  # the malformed bytes came after the body
        return self.joined()

    def joined(self) -> bytes:
        """Remove and return the content of the chunks parsed so far."""
        pieces = self._pieces
        if len(pieces) == 1:
            return pieces.pop()
        whole = b"".join(pieces)
        pieces.clear()
        return whole

    def on_body(self, data: bytes) -> None:
        """Called by httptools with the content of a chunk."""
        if self.kind is Framing.CHUNKED:
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        """Called by httptools after the last chunk and its trailers."""
        self.kind = Framing.NONE

    def on_message_begin(self) -> None:
        """Called by httptools at the first byte after the body, too."""
        self.is_excess = self.kind is Framing.NONE

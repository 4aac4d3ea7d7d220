"""The framing of a response's body (RFC 9112, 6)."""

from __future__ import annotations

import enum

import httptools


class Framing(enum.Enum):
    """How the end of a body is told."""

    NONE = 0  # nothing of a body is still to come
    SIZED = 1
    CHUNKED = 2
    UNTIL_CLOSE = 3


class BodyFraming:
    """Removes the framing of one body after another."""

    __slots__ = ("_pieces", "chunk_parser", "is_excess", "kind", "left")

    def __init__(self) -> None:
        self.kind = Framing.NONE
        self.left = 0
        self.chunk_parser: httptools.HttpResponseParser | None = None
        self.is_excess = False
        self._pieces: list[bytes] = []

    def begin(self, data: bytes, end: int, length: int, *, is_chunked: bool) -> bytes:
        """Take up the framing; what has come of the body already."""
        came = len(data) - end
        self.is_excess = False
        if came == length:  # all of it in one breath
            self.kind = Framing.NONE
            return data[end:]
        if length > 0:
            self.kind = Framing.SIZED
            self.left = length
        elif not length:
            self.kind = Framing.NONE
            self.is_excess = True
            return b""
        elif is_chunked:
            self.kind = Framing.CHUNKED
            self.chunk_parser = httptools.HttpResponseParser(self)
            self.chunk_parser.feed_data(data[:end])
        else:
            self.kind = Framing.UNTIL_CLOSE
        return self.unframed(data[end:]) if came else b""

    def unframed(self, data: bytes) -> bytes:
        """The body's own bytes; sets the framing to ``NONE`` when they are complete.

        Raises ``httptools.HttpParserError`` for chunks that are none.
        """
        framing = self.kind
        if framing is Framing.SIZED:
            left = self.left - len(data)
            if left > 0:
                self.left = left
                return data
            self.kind = Framing.NONE
            if left:
                self.is_excess = True
                return data[:left]
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
            self.is_excess = True  # the body had ended before
        return self.joined()

    def joined(self) -> bytes:
        """The pieces that the chunks held."""
        pieces = self._pieces
        if len(pieces) == 1:
            return pieces.pop()
        whole = b"".join(pieces)
        pieces.clear()
        return whole

    def on_body(self, data: bytes) -> None:
        """httptools: bytes of a chunk."""
        if self.kind is Framing.CHUNKED:
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        """httptools: the last chunk and the trailers are here."""
        if self.kind is not Framing.CHUNKED:
            self.is_excess = True
        self.kind = Framing.NONE

"""The content of a request, on its way to the upstream."""

from __future__ import annotations

import asyncio

from zenzefi.proxy.upstream.sinks import ContentSource

CONTINUE_SECONDS = 1.0
"""RFC 9110, 10.1.1: a client must not wait forever for a 100."""


class RequestContent:
    """Writes the content of one request, with its framing (RFC 9112, 6 and 7.1)."""

    __slots__ = ("_is_paused", "_left", "_transport", "is_complete", "source")

    def __init__(
        self, transport: asyncio.Transport, source: ContentSource, length: int | None
    ) -> None:
        """``length``: in bytes, ``None`` if the content is chunked."""
        self._transport = transport
        self._left = length
        self._is_paused = False
        self.source = source
        self.is_complete = length == 0
        """Whether all of it was written."""

    @property
    def is_awaited(self) -> bool:
        """Whether the upstream waits for the source."""
        return not (self.is_complete or self._is_paused)

    @property
    def is_closed(self) -> bool:
        """Whether the connection is closed."""
        return self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Write a piece; nothing if the connection is lost."""
        if not data or self._transport.is_closing():
            return
        if self._left is None:
            self._transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))
            return
        self._transport.write(data)
        self._left -= len(data)
        self.is_complete = self._left <= 0

    def end(self) -> None:
        """All of the content was written."""
        if self._left is None and not self.is_complete and not self._transport.is_closing():
            self._transport.write(b"0\r\n\r\n")
        self.is_complete = True

    def pause(self) -> None:
        """The write buffer is full."""
        self._is_paused = True
        self.source.pause()

    def resume(self) -> None:
        """The write buffer has room."""
        self._is_paused = False
        self.source.resume()

"""Whole WebSocket messages, for plugins that asked for them.

Pure. Only used if a plugin reads messages: then no extension is negotiated, frames are joined to
messages, passed to the plugin, and framed again. Otherwise frames are relayed raw.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from zenzefi.proxy.websocket.frames import xor

MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes of one message where a plugin reads it."""

Handle = Callable[[str | bytes], str | bytes | None]

TEXT = 1
"""Opcode of a text message (RFC 6455, 5.2)."""
BINARY = 2
"""Opcode of a binary message."""
_CONTINUATION, _CLOSE = 0, 8


class FrameError(Exception):
    """Frames that can't be read; ``code`` is the close code (RFC 6455, 7.4.1)."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(reason)


class MessageFilter:
    """One direction: bytes in, bytes out, each message through ``handle`` in between.

    ``masked`` says that this direction is a client's (RFC 6455, 5.3). ``handle`` returns the
    message to send instead, or ``None`` to drop it.
    """

    def __init__(self, handle: Handle, *, masked: bool, longest: int = MAX_MESSAGE) -> None:
        self._handle = handle
        self._masked = masked
        self._longest = longest
        self._buffer = bytearray()
        self._opcode = 0  # of the message that is being put together, 0 between messages
        self._parts: list[bytes] = []
        self._size = 0
        self.close_code: int | None = None
        """The code of the close frame that has passed, 1005 if it had none (RFC 6455, 7.1.5)."""

    def feed(self, data: bytes) -> bytes:
        """What leaves for ``data``. Raises :class:`FrameError`."""
        self._buffer += data
        out: list[bytes] = []
        while (frame := self._next_frame()) is not None:
            out.append(self._take(*frame))
        return b"".join(out)

    def _next_frame(self) -> tuple[int, bool, bytes, bytes] | None:
        """(opcode, final, payload, the frame as it came), ``None`` while one is incomplete."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        if first & 0x70:
            raise FrameError(1002, "An extension was used that was not agreed on.")
        if bool(second & 0x80) != self._masked:
            raise FrameError(1002, "A frame is masked where it must not be, or the reverse.")
        short = second & 0x7F
        extended = 2 if short == 126 else 8 if short == 127 else 0
        start = 2 + extended + (4 if self._masked else 0)
        if len(buffer) < start:
            return None
        size = int.from_bytes(buffer[2 : 2 + extended], "big") if extended else short
        if first & 0x08 and size > 125:
            raise FrameError(1002, "A control frame is too long.")
        if self._size + size > self._longest:
            raise FrameError(1009, "The message is too long for this gate's plugins.")
        end = start + size
        if len(buffer) < end:
            return None
        raw = bytes(buffer[:end])
        del buffer[:end]
        payload = xor(raw[start:], raw[start - 4 : start]) if self._masked else raw[start:]
        return first & 0x0F, bool(first & 0x80), payload, raw

    def _take(self, opcode: int, final: bool, payload: bytes, raw: bytes) -> bytes:
        if opcode == _CLOSE and self.close_code is None:
            self.close_code = int.from_bytes(payload[:2], "big") if len(payload) > 1 else 1005
        if opcode >= _CLOSE:
            return raw  # control frames pass as they are, also between fragments
        if (opcode == _CONTINUATION) != bool(self._opcode) or opcode > BINARY:
            raise FrameError(1002, "The fragments of a message are out of order.")
        self._opcode = self._opcode or opcode
        self._parts.append(payload)
        self._size += len(payload)
        if not final:
            return b""
        whole, kind = b"".join(self._parts), self._opcode
        self._parts, self._size, self._opcode = [], 0, 0
        return self._handled(whole, is_text=kind == TEXT)

    def _handled(self, whole: bytes, *, is_text: bool) -> bytes:
        try:
            result = self._handle(whole.decode() if is_text else whole)
        except UnicodeDecodeError:
            raise FrameError(1007, "A text message is not UTF-8.") from None
        if result is None:
            return b""
        if isinstance(result, str):
            return data_frame(TEXT, result.encode(), masked=self._masked)
        return data_frame(BINARY, result, masked=self._masked)


def data_frame(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """One unfragmented frame (RFC 6455, 5.2)."""
    size, bit = len(payload), 0x80 if masked else 0
    if size < 126:
        head = bytes((0x80 | opcode, bit | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, bit | 127)) + size.to_bytes(8, "big")
    if not masked:
        return head + payload
    mask = secrets.token_bytes(4)
    return head + mask + xor(payload, mask)

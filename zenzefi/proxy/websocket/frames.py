"""Just enough of RFC 6455's framing to know where frames end, and to write control frames.

Pure. Frames are relayed raw; the gate only needs boundaries, to put a close or ping of its own
between two frames (section 5.4: control frames may occur between fragments).
"""

from __future__ import annotations

import secrets

CLOSE_GOING_AWAY = 1001
CLOSE_TOKEN_ENDED = 4401
CLOSE_TOO_MUCH = 4429
"""As HTTP's 429. Section 7.4.2: from 4000 on is for applications, here the gate and its clients."""
PING = b"\x89\x00"
_CLOSE = 8  # opcode, section 5.2
_MAX_REASON = 123  # bytes; section 5.5: a control frame's payload is at most 125


def close_frame(code: int, reason: str, *, masked: bool) -> bytes:
    """A close frame (section 5.5.1); ``masked`` when the gate speaks as a client (5.3)."""
    text = reason.encode()[:_MAX_REASON].decode("utf-8", "ignore").encode()
    payload = code.to_bytes(2, "big") + text
    if not masked:
        return bytes((0x88, len(payload))) + payload
    mask = secrets.token_bytes(4)
    return bytes((0x88, 0x80 | len(payload))) + mask + xor(payload, mask)


def xor(payload: bytes, mask: bytes) -> bytes:
    """Mask or unmask a payload (section 5.3), as one big number: no loop over bytes."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


SHORT_MASKED = 122
"""The second byte of a masked frame of up to 131 bytes is its size plus this number (5.2)."""
SHORT_UNMASKED = -2
"""The second byte of an unmasked frame of up to 127 bytes is its size plus this number."""


class FrameCursor:
    """Follows one direction of a WebSocket's bytes from frame to frame."""

    __slots__ = ("_header", "_left", "frames", "is_at_boundary")

    def __init__(self) -> None:
        self._header = b""  # the beginning of a header that is not complete yet
        self._left = 0  # bytes of the current frame's payload still to come
        self.frames = 0
        """Frames begun so far, control frames and fragments each for itself."""
        self.is_at_boundary = True
        """Whether the next byte begins a frame."""

    def feed(self, data: bytes, *, stop_at_boundary: bool = False) -> int:
        """Follow ``data``; returns how many bytes were followed.

        That is all of them, or with ``stop_at_boundary`` those up to the first frame's end.
        """
        used = self._follow(data, stop_at_boundary=stop_at_boundary)
        self.is_at_boundary = not self._left and not self._header
        return used

    def _follow(self, data: bytes, *, stop_at_boundary: bool) -> int:
        size = len(data)
        held = len(self._header)
        if held:
            data = self._header + data
            self._header = b""
            size += held
        index = 0
        while index < size:
            if self._left:
                step = min(self._left, size - index)
                self._left -= step
                index += step
            else:
                length_at = index + 2
                if size < length_at:
                    self._header = data[index:]
                    break
                second = data[index + 1]
                short = second & 0x7F
                extended = 2 if short == 126 else 8 if short == 127 else 0
                payload_at = length_at + extended + (4 if second & 0x80 else 0)
                if size < payload_at:
                    self._header = data[index:]
                    break
                self._left = (
                    int.from_bytes(data[length_at : length_at + extended], "big")
                    if extended
                    else short
                )
                index = payload_at
                self.frames += 1
            if stop_at_boundary and not self._left:
                return index - held
        return size - held

    def meets_close(self, data: bytes) -> bool:
        """Follow ``data`` up to the first close frame; returns whether one begins in it."""
        while data:
            if self.is_at_boundary and data[0] & 0x0F == _CLOSE:
                return True
            data = data[self.feed(data, stop_at_boundary=True) :]
        return False

"""How many 1xx responses an upstream may send. Pure.

RFC 9110, 15.2 sets no limit to their number: 102 Processing may keep a request alive for hours. A
flood of them is work without an end, so their rate is limited.
"""

from __future__ import annotations

MAX_PER_SECOND = 16


class InterimRate:
    """Counts the 1xx responses to one request."""

    __slots__ = ("_since", "count")

    def __init__(self) -> None:
        self.count = 0
        """The number of responses in the current second."""
        self._since = 0.0

    def clear(self) -> None:
        """Begin to count for the next request."""
        self.count = 0

    def allows(self, now: float) -> bool:
        """Count one; returns false if more than :data:`MAX_PER_SECOND` came within a second.

        ``now``: a monotonic clock in seconds.
        """
        if not self.count or now - self._since >= 1.0:
            self.count = 0
            self._since = now
        self.count += 1
        return self.count <= MAX_PER_SECOND

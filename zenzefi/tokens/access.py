"""What a valid access token grants: the value that the way through works with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID


@dataclass(frozen=True, slots=True)
class TokenAccess:
    """One validated access token, without its value.

    ``activated_at`` is ``None`` until the first proxied request (times are UTC and aware).
    """

    token_id: UUID
    user_id: UUID
    scope: str
    duration_hours: int
    activated_at: datetime | None = None

    @property
    def expires_at(self) -> datetime | None:
        """``activated_at + duration_hours``; computed, never stored."""
        if self.activated_at is None:
            return None
        return self.activated_at + timedelta(hours=self.duration_hours)

    @property
    def is_activated(self) -> bool:
        """Whether the clock of this token runs."""
        return self.activated_at is not None

    def seconds_left(self, now: datetime) -> float:
        """Seconds until it ends; the whole duration while it has not been used.

        ``now`` is the database's time, which a node's own clock may differ from: take it from
        ``TokenValidator.now()`` or from the row that was read.
        """
        expires_at = self.expires_at
        if expires_at is None:
            return self.duration_hours * 3600.0
        return (expires_at - now).total_seconds()

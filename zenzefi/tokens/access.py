"""The value object of a validated access token."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID


@dataclass(frozen=True, slots=True)
class TokenAccess:
    """The rights of one validated access token. The token itself is not stored in it.

    ``activated_at`` is ``None`` until the first proxied request. All times are aware and in UTC.
    """

    token_id: UUID
    user_id: UUID
    scope: str
    duration_hours: int
    activated_at: datetime | None = None

    @property
    def expires_at(self) -> datetime | None:
        """``activated_at`` plus ``duration_hours``. It is computed and not stored."""
        if self.activated_at is None:
            return None
        return self.activated_at + timedelta(hours=self.duration_hours)

    @property
    def is_activated(self) -> bool:
        """Whether the token has been used, so that its time runs."""
        return self.activated_at is not None

    def seconds_left(self, now: datetime) -> float:
        """Seconds until the token expires; the whole duration while it is not activated.

        ``now`` is the time of the database, from which the clock of a node may differ. Take it from
        ``TokenValidator.now()`` or from the row that was read.
        """
        expires_at = self.expires_at
        if expires_at is None:
            return self.duration_hours * 3600.0
        return (expires_at - now).total_seconds()

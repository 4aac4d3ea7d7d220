"""The time that all decisions use: the clock of the database, as far as this node knows it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from zenzefi.observability.metrics import CLOCK_SKEW

log = logging.getLogger(__name__)

_REPORTED = 5.0  # seconds: more than network latency and a busy machine explain


def _wall() -> datetime:
    return datetime.now(UTC)


class Clock:
    """The clock of this node, corrected by its certain difference from the clock of the database.

    A result of the database carries the database's time, which is between the start and the end of
    the query. Only a time outside that interval proves a difference, so a slow query does not
    change the correction.
    """

    def __init__(self, wall: Callable[[], datetime] = _wall) -> None:
        self._wall = wall
        self.skew = 0.0
        """Seconds by which the database's clock is ahead of this node's."""
        self._is_reported = False

    def wall(self) -> datetime:
        """The uncorrected time of this node. Read it before a query, for :meth:`note`."""
        return self._wall()

    def now(self) -> datetime:
        """The time of the database."""
        wall = self._wall()
        return wall + timedelta(seconds=self.skew) if self.skew else wall

    def note(self, theirs: datetime, started: datetime) -> None:
        """Compare the clocks: a query begun at ``started`` (:meth:`wall`) read ``theirs``."""
        behind = (theirs - self._wall()).total_seconds()
        ahead = (started - theirs).total_seconds()
        self.skew = behind if behind > 0 else -ahead if ahead > 0 else 0.0
        CLOCK_SKEW.set(self.skew)
        is_large = abs(self.skew) >= _REPORTED
        if is_large and not self._is_reported:
            log.warning(
                "clock skew: this node's clock is %.0f s %s the database's. Correct it. Until then "
                "the database's clock is used for access tokens",
                abs(self.skew),
                "behind" if self.skew > 0 else "ahead of",
            )
        elif self._is_reported and not is_large:
            log.info("clock skew corrected: this node's clock agrees with the database's")
        self._is_reported = is_large

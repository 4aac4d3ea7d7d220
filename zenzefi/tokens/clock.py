"""The one clock that decisions follow: the database's, as well as this node knows it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from zenzefi.observability.metrics import CLOCK_SKEW

log = logging.getLogger(__name__)

_REPORTED = 5.0  # seconds: more than networks and busy machines explain


def _wall() -> datetime:
    return datetime.now(UTC)


class Clock:
    """This node's clock, corrected by what is certain about the database's.

    Answers of the database carry its time, which lies between the question and the answer. Only
    what lies outside of that is a difference of the clocks: a slow answer is none.
    """

    def __init__(self, wall: Callable[[], datetime] = _wall) -> None:
        self._wall = wall
        self.skew = 0.0
        """Seconds by which the database's clock is ahead of this node's."""
        self._is_reported = False

    def wall(self) -> datetime:
        """This node's own time; to be noted before a question to the database."""
        return self._wall()

    def now(self) -> datetime:
        """The database's time."""
        wall = self._wall()
        return wall + timedelta(seconds=self.skew) if self.skew else wall

    def note(self, theirs: datetime, asked: datetime) -> None:
        """An answer to a question asked at ``asked`` (by this node's clock) carried ``theirs``."""
        behind = (theirs - self._wall()).total_seconds()
        ahead = (asked - theirs).total_seconds()
        self.skew = behind if behind > 0 else -ahead if ahead > 0 else 0.0
        CLOCK_SKEW.set(self.skew)
        is_large = abs(self.skew) >= _REPORTED
        if is_large and not self._is_reported:
            log.warning(
                "this node's clock is %.0f s %s the database's: set it right. Access is decided by "
                "the database's clock meanwhile",
                abs(self.skew),
                "behind" if self.skew > 0 else "ahead of",
            )
        elif self._is_reported and not is_large:
            log.info("this node's clock agrees with the database's again")
        self._is_reported = is_large

"""Limits of the connections to the upstream, and the reasons to refuse one. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Reason(enum.StrEnum):
    """Why a request got no connection. The values are labels of a metric."""

    FULL = "full"
    """The wait timed out; all connections were in use."""
    TOKEN = "token"  # noqa: S105 - a label
    """The wait timed out; the token used all connections of its share."""
    LONG_LIVED = "long_lived"
    """All long-lived connections are in use."""
    LONG_LIVED_TOKEN = "long_lived_token"  # noqa: S105 - a label
    """The token uses its whole share of long-lived connections."""
    QUEUE = "queue"
    """The queue is full."""
    QUEUE_TOKEN = "queue_token"  # noqa: S105 - a label
    """The token's part of the queue is full."""


TOKEN_REASONS = frozenset((Reason.TOKEN, Reason.LONG_LIVED_TOKEN, Reason.QUEUE_TOKEN))
"""The reasons that concern one token alone."""


class Refused(Exception):
    """No connection for this request."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason.value)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one upstream; the first four count connections, the last two requests."""

    total: int
    long_lived: int
    per_token: int
    long_lived_per_token: int
    waiting: int
    waiting_per_token: int

    @classmethod
    def of(cls, total: int, *, per_token: int, long_lived_share: float, waiting: int) -> Limits:
        """The limits for the values of the settings.

        One token gets at most half of an account, even if ``per_token`` is higher. One connection
        is always left for short requests, so a total of 1 permits no long-lived connection.
        """
        long_lived = min(total - 1, max(1, int(total * long_lived_share)))
        return cls(
            total=total,
            long_lived=long_lived,
            per_token=min(per_token, max(1, total // 2)),
            long_lived_per_token=min(per_token, max(1, long_lived // 2)),
            waiting=waiting,
            waiting_per_token=max(1, waiting // 2),
        )

"""The entries for access tokens in Redis: their JSON form, and tombstones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from zenzefi.tokens.access import TokenAccess

TOMBSTONE = b'{"ended":true}'
TOMBSTONE_LIFE = 600
"""Seconds for which a tombstone is stored: longer than any look-up takes, so that a look-up that
began before the invalidation can't store an outdated entry after the tombstone has expired."""


@dataclass(frozen=True, slots=True)
class RedisEntry:
    """The entry of a token: a validated access, a tombstone, or (neither of them) invalid data.

    ``age`` is the time in seconds since the database confirmed the access.
    """

    raw: bytes
    access: TokenAccess | None = None
    age: float = 0.0

    @property
    def is_tombstone(self) -> bool:
        """Whether the entry says that the token was invalidated."""
        return self.raw == TOMBSTONE


def encode(access: TokenAccess, now: datetime) -> str:
    """The JSON form of an access that the database confirmed at ``now``."""
    return json.dumps(
        {
            "token_id": str(access.token_id),
            "user_id": str(access.user_id),
            "scope": access.scope,
            "duration_hours": access.duration_hours,
            "activated_at": None
            if access.activated_at is None
            else access.activated_at.isoformat(),
            "checked_at": now.isoformat(),
        }
    )


def decode(raw: bytes, now: datetime) -> RedisEntry:
    """Parse an entry. Invalid data gives an entry without an access."""
    try:
        value = json.loads(raw)
        activated_at = datetime.fromisoformat(value["activated_at"])
        checked_at = datetime.fromisoformat(value["checked_at"])
        hours, scope = value["duration_hours"], value["scope"]
        if activated_at.tzinfo is None or checked_at.tzinfo is None:
            return RedisEntry(raw)
        if type(hours) is not int or hours <= 0 or not isinstance(scope, str):
            return RedisEntry(raw)
        access = TokenAccess(
            token_id=UUID(value["token_id"]),
            user_id=UUID(value["user_id"]),
            scope=scope,
            duration_hours=hours,
            activated_at=activated_at.astimezone(UTC),
        )
        access.seconds_left(now)  # raises OverflowError for a duration beyond the calendar
        age = abs((now - checked_at).total_seconds())
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return RedisEntry(raw)
    return RedisEntry(raw, access, age)

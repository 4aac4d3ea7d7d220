"""Sign-ins of browsers at the proxy: the record, its JSON form in Redis, and SQL statements."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select

from zenzefi.accounts.models import web_sessions
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import utcnow
from zenzefi.gate_cookies import browser_of, network_of
from zenzefi.tokens.models import access_tokens, proxy_sign_ins

_s = proxy_sign_ins.c
# The sign-ins derived from a page session end with it, also when it ends by a new password, a reset
# link or an administrator: within the lifetime of a cached entry. Logging out sends a message too.
_PARENT_ENDED = (
    select(web_sessions.c.id)
    .where(web_sessions.c.id == _s.family_id, web_sessions.c.ended_at.is_not(None))
    .exists()
)
BY_INDEX = (
    select(
        _s.id,
        _s.family_id,
        _s.token_id,
        _s.network,
        _s.agent,
        _s.is_sealed,
        _s.expires_at,
        _s.secret_index,
        access_tokens.c.token_index,
    )
    .join(access_tokens, access_tokens.c.id == _s.token_id)
    .where(
        _s.secret_index.in_(bindparam("indexes", expanding=True)),
        _s.ended_at.is_(None),
        _s.expires_at > utcnow(),
        ~_PARENT_ENDED,
    )
)
NOT_ENDED = select(_s.id).where(
    _s.id.in_(bindparam("ids", expanding=True)), _s.ended_at.is_(None), ~_PARENT_ENDED
)


@dataclass(frozen=True, slots=True)
class BrowserSignIn:
    """One sign-in that has not ended, without its secret.

    ``family`` is shared by sign-ins that were derived from each other. ``is_sealed``: the cookie
    has a name that scripts can't write.
    """

    id: UUID
    family: UUID
    token_id: UUID
    token_index: bytes
    network: str
    browser: str
    is_sealed: bool
    expires_at: datetime

    def is_of(self, address: str, agent: str) -> bool:
        """Whether a client with this address and ``User-Agent`` may be this browser."""
        return self.network == network_of(address) and self.browser == browser_of(agent)

    def to_json(self) -> str:
        """The form that is stored in Redis."""
        return json.dumps(
            {
                "id": str(self.id),
                "family": str(self.family),
                "token_id": str(self.token_id),
                "token_index": self.token_index.hex(),
                "network": self.network,
                "browser": self.browser,
                "is_sealed": self.is_sealed,
                "expires_at": self.expires_at.isoformat(),
            }
        )

    @classmethod
    def from_json(cls, raw: bytes) -> BrowserSignIn | None:
        """Parse an entry of Redis; ``None`` for invalid data."""
        try:
            held = json.loads(raw)
            expires_at = datetime.fromisoformat(held["expires_at"])
            if expires_at.tzinfo is None or not isinstance(held["is_sealed"], bool):
                return None
            return cls(
                id=UUID(held["id"]),
                family=UUID(held["family"]),
                token_id=UUID(held["token_id"]),
                token_index=bytes.fromhex(held["token_index"]),
                network=str(held["network"]),
                browser=str(held["browser"]),
                is_sealed=held["is_sealed"],
                expires_at=expires_at.astimezone(UTC),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
            return None


def sign_in_record(row: Any) -> BrowserSignIn:
    """The sign-in in a row of :data:`BY_INDEX`."""
    return BrowserSignIn(
        id=row.id,
        family=row.family_id,
        token_id=row.token_id,
        token_index=bytes(row.token_index),
        network=row.network or "",
        browser=row.agent or "",
        is_sealed=row.is_sealed,
        expires_at=row.expires_at,
    )


async def has_not_ended(connection: AsyncConnection, family: UUID) -> bool:
    """Whether the page session or sign-in with this ID exists and has not ended.

    The row stays locked, so that a concurrent logout waits for the transaction and then ends the
    new sign-in.
    """
    for table in (web_sessions, proxy_sign_ins):
        query = select(table.c.id).where(table.c.id == family, table.c.ended_at.is_(None))
        if (await connection.execute(query.with_for_update(read=True))).first() is not None:
            return True
    return False

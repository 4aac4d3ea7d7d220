"""The statements about access tokens that a request may wait for. SQLAlchemy Core only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from zenzefi.accounts.models import users
from zenzefi.db.base import utcnow
from zenzefi.tokens.access import Access
from zenzefi.tokens.models import access_tokens

_t = access_tokens.c
_STATE = (
    _t.id,
    _t.user_id,
    _t.scope,
    _t.duration_hours,
    _t.activated_at,
    _t.revoked_at,
    users.c.is_active,
    utcnow().label("now"),
)
_BY_INDEX = (
    select(*_STATE)
    .join(users, users.c.id == _t.user_id)
    .where(_t.token_index.in_(bindparam("indexes", expanding=True)))
)
_BY_IDS = (
    select(*_STATE)
    .join(users, users.c.id == _t.user_id)
    .where(_t.id.in_(bindparam("ids", expanding=True)))
)
_ACTIVATE = (
    update(access_tokens)
    .where(_t.id == bindparam("token_id"), _t.activated_at.is_(None), _t.revoked_at.is_(None))
    .values(activated_at=utcnow())
)


@dataclass(frozen=True, slots=True)
class State:
    """One token as the database knows it, and the database's clock when it said so."""

    access: Access
    is_revoked: bool
    now: datetime

    @property
    def is_expired(self) -> bool:
        """Whether its time has passed, by the database's clock."""
        return self.access.seconds_left(self.now) <= 0


def _state(row: Row[Any]) -> State:
    access = Access(row.id, row.user_id, row.scope, row.duration_hours, row.activated_at)
    return State(access, row.revoked_at is not None or not row.is_active, row.now)


async def find(connection: AsyncConnection, indexes: list[bytes]) -> State | None:
    """The token with one of these indexes."""
    row = (await connection.execute(_BY_INDEX, {"indexes": indexes})).one_or_none()
    return None if row is None else _state(row)


async def states(connection: AsyncConnection, ids: list[UUID]) -> list[State]:
    """The tokens with these ids."""
    return [_state(row) for row in await connection.execute(_BY_IDS, {"ids": ids})]


async def activate(connection: AsyncConnection, token_id: UUID) -> State | None:
    """Start the token's clock unless it runs or has been revoked; then its state.

    One conditional UPDATE: of many at once exactly one starts it, by the database's clock.
    """
    await connection.execute(_ACTIVATE, {"token_id": token_id})
    found = await states(connection, [token_id])
    return found[0] if found else None

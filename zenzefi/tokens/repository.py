"""The statements about access tokens that a request may wait for. SQLAlchemy Core only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, bindparam, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from zenzefi.accounts.models import users
from zenzefi.db.base import hours_after, utcnow
from zenzefi.tokens.access import TokenAccess
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
    select(*_STATE, _t.token_index)
    .join(users, users.c.id == _t.user_id)
    .where(_t.token_index.in_(bindparam("indexes", expanding=True)))
)
_BY_IDS = (
    select(*_STATE)
    .join(users, users.c.id == _t.user_id)
    .where(_t.id.in_(bindparam("ids", expanding=True)))
)
_STANDING = (
    select(_t.id)
    .join(users, users.c.id == _t.user_id)
    .where(
        _t.id.in_(bindparam("ids", expanding=True)),
        _t.revoked_at.is_(None),
        users.c.is_active,
        or_(
            _t.activated_at.is_(None),
            hours_after(_t.activated_at, _t.duration_hours) > utcnow(),
        ),
    )
)
_ACTIVATE = (
    update(access_tokens)
    .where(_t.id == bindparam("token_id"), _t.activated_at.is_(None), _t.revoked_at.is_(None))
    .values(activated_at=utcnow())
)


@dataclass(frozen=True, slots=True)
class State:
    """One token as the database knows it, and the database's clock when it said so."""

    access: TokenAccess
    is_revoked: bool
    now: datetime

    @property
    def is_expired(self) -> bool:
        """Whether its time has passed, by the database's clock."""
        return self.access.seconds_left(self.now) <= 0


def _state(row: Row[Any]) -> State:
    access = TokenAccess(row.id, row.user_id, row.scope, row.duration_hours, row.activated_at)
    return State(access, row.revoked_at is not None or not row.is_active, row.now)


async def find(connection: AsyncConnection, indexes: list[bytes]) -> dict[bytes, State]:
    """The tokens with these indexes."""
    rows = await connection.execute(_BY_INDEX, {"indexes": indexes})
    return {bytes(row.token_index): _state(row) for row in rows}


async def states(connection: AsyncConnection, ids: list[UUID]) -> list[State]:
    """The tokens with these ids."""
    return [_state(row) for row in await connection.execute(_BY_IDS, {"ids": ids})]


async def standing(connection: AsyncConnection, ids: list[UUID]) -> set[UUID]:
    """Those of these tokens that are good now: neither revoked, expired nor of a deactivated user.

    One small row per token: it is asked about all that is open.
    """
    return set((await connection.execute(_STANDING, {"ids": ids})).scalars())


async def time(connection: AsyncConnection) -> datetime:
    """The database's clock."""
    now: datetime = (await connection.execute(select(utcnow()))).scalar_one()
    return now


async def activate(connection: AsyncConnection, token_id: UUID) -> State | None:
    """Start the token's clock unless it runs or has been revoked; then its state.

    One conditional UPDATE: of many at once exactly one starts it, by the database's clock.
    """
    await connection.execute(_ACTIVATE, {"token_id": token_id})
    found = await states(connection, [token_id])
    return found[0] if found else None

"""The SQL statements about access tokens that a proxied request may wait for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, bindparam, select, update

from zenzefi.accounts.models import users
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import utcnow
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.models import access_tokens
from zenzefi.tokens.token_records import is_active

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
_VALID = (
    select(_t.id)
    .join(users, users.c.id == _t.user_id)
    .where(_t.id.in_(bindparam("ids", expanding=True)), users.c.is_active, is_active())
)
_ACTIVATE = (
    update(access_tokens)
    .where(_t.id == bindparam("token_id"), _t.activated_at.is_(None), _t.revoked_at.is_(None))
    .values(activated_at=utcnow())
)


@dataclass(frozen=True, slots=True)
class TokenState:
    """The state of one token in the database, and the database's time when it was read."""

    access: TokenAccess
    is_revoked: bool
    now: datetime

    @property
    def is_expired(self) -> bool:
        """Whether the token has expired, by the database's clock."""
        return self.access.seconds_left(self.now) <= 0


def _state(row: Row[Any]) -> TokenState:
    access = TokenAccess(row.id, row.user_id, row.scope, row.duration_hours, row.activated_at)
    return TokenState(access, row.revoked_at is not None or not row.is_active, row.now)


async def find(connection: AsyncConnection, indexes: list[bytes]) -> dict[bytes, TokenState]:
    """The tokens with these indexes, by index. Unknown indexes are left out."""
    rows = await connection.execute(_BY_INDEX, {"indexes": indexes})
    return {bytes(row.token_index): _state(row) for row in rows}


async def states(connection: AsyncConnection, ids: list[UUID]) -> list[TokenState]:
    """The tokens with these IDs. Unknown IDs are left out."""
    return [_state(row) for row in await connection.execute(_BY_IDS, {"ids": ids})]


async def valid_ids(connection: AsyncConnection, ids: list[UUID]) -> set[UUID]:
    """Those of these tokens that are neither revoked, expired nor of a deactivated user.

    It returns one small column, because it is called for all tokens with open connections.
    """
    return set((await connection.execute(_VALID, {"ids": ids})).scalars())


async def database_time(connection: AsyncConnection) -> datetime:
    """The time of the database's clock."""
    now: datetime = (await connection.execute(select(utcnow()))).scalar_one()
    return now


async def activate(connection: AsyncConnection, token_id: UUID) -> TokenState | None:
    """Activate the token unless it is activated or revoked, and return its state.

    One conditional UPDATE: of many concurrent calls exactly one activates the token, at the time of
    the database's clock. ``None``: there is no such token.
    """
    await connection.execute(_ACTIVATE, {"token_id": token_id})
    found = await states(connection, [token_id])
    return found[0] if found else None

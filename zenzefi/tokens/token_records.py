"""Records of access tokens: inserting and reading rows, for single purchases and bundles."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Row, Select, and_, or_, select

from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import hours_after, utcnow
from zenzefi.keys import Keyring
from zenzefi.tokens import token_format
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.models import access_tokens

_t = access_tokens.c


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """One access token with everything that its owner may see."""

    id: UUID
    user_id: UUID
    plaintext: str | None  # None: it was encrypted under a key that the settings no longer have
    prefix: str
    name: str | None
    duration_hours: int
    scope: str
    cost: Decimal
    refunded: Decimal
    created_at: datetime
    activated_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    is_active: bool
    seconds_left: float
    """At the time of the query, by the database's clock; the whole duration while it is unused."""


def select_tokens(*more: Any) -> Select[Any]:
    """``SELECT`` of the columns that :func:`token_record` needs, followed by ``more`` columns."""
    return select(
        _t.id,
        _t.user_id,
        _t.token_encrypted,
        _t.prefix,
        _t.name,
        _t.duration_hours,
        _t.scope,
        _t.cost,
        _t.refunded,
        _t.created_at,
        _t.activated_at,
        _t.revoked_at,
        utcnow().label("now"),
        *more,
    )


def is_active() -> ColumnElement[bool]:
    """The condition "neither revoked nor expired", by the database's clock."""
    return and_(
        _t.revoked_at.is_(None),
        or_(
            _t.activated_at.is_(None),
            hours_after(_t.activated_at, _t.duration_hours) > utcnow(),
        ),
    )


def token_record(row: Row[Any], keyring: Keyring, *, reveal: bool = True) -> TokenRecord:
    """The token in a row of :func:`select_tokens`. ``reveal=False`` leaves out the plain text."""
    plain: str | None = None
    if reveal:
        try:
            plain = keyring.decrypt(row.token_encrypted).decode("ascii")
        except LookupError:
            plain = None
    access = TokenAccess(row.id, row.user_id, row.scope, row.duration_hours, row.activated_at)
    left = access.seconds_left(row.now)
    return TokenRecord(
        id=row.id,
        user_id=row.user_id,
        plaintext=plain,
        prefix=row.prefix,
        name=row.name,
        duration_hours=row.duration_hours,
        scope=row.scope,
        cost=row.cost,
        refunded=row.refunded,
        created_at=row.created_at,
        activated_at=row.activated_at,
        expires_at=access.expires_at,
        revoked_at=row.revoked_at,
        is_active=row.revoked_at is None and left > 0,
        seconds_left=max(0.0, left),
    )


async def insert_token(
    connection: AsyncConnection,
    keyring: Keyring,
    *,
    user_id: UUID,
    duration_hours: int,
    scope: str,
    cost: Decimal,
    name: str | None = None,
    bundle_purchase_id: UUID | None = None,
) -> TokenRecord:
    """Insert a new token inside the caller's transaction, and return it."""
    plain, token_id = token_format.new_token(), uuid4()
    await connection.execute(
        access_tokens.insert().values(
            id=token_id,
            user_id=user_id,
            token_index=token_format.index(keyring, plain),
            token_encrypted=keyring.encrypt(plain.encode("ascii")),
            prefix=plain[: token_format.PREFIX_LENGTH],
            name=name or None,
            duration_hours=duration_hours,
            scope=scope,
            cost=cost,
            bundle_purchase_id=bundle_purchase_id,
        )
    )
    row = (await connection.execute(select_tokens().where(_t.id == token_id))).one()
    return token_record(row, keyring)

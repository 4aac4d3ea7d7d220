"""API keys: credentials of programs that act for a user, with some of the user's permissions.

A key is shown once. The database contains its hash and is asked for every call, so a revoked key
ends on all nodes at once. A key also ends with its account's deactivation, and with every change
of the credentials that ends the account's sign-ins (``credential_version``).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web
from sqlalchemy import ColumnElement, Row, Select, and_, case, func, select, update

from zenzefi.accounts.errors import (
    ApiKeyForbidden,
    CredentialsRejected,
    InactiveUser,
    NotSuperuser,
    TooManyApiKeys,
)
from zenzefi.accounts.identity import User, select_users, user_of
from zenzefi.accounts.models import api_keys, users
from zenzefi.api.permissions import KeyPermission
from zenzefi.audit.log import Actor, record
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.errors import NotFound
from zenzefi.observability.metrics import API_KEY_CALLS

PREFIX = "znk_"
"""The first characters of every key: what scanners of repositories for secrets look for."""
MAX_OF_USER = 20
"""Keys of one user that have not ended."""
MAX_DAYS = 366
"""The longest validity of a key."""

_KEY = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")
_HINT = len(PREFIX) + 4
_TOUCH = timedelta(minutes=1)
_k = api_keys.c


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, without its secret."""

    id: UUID
    user_id: UUID
    name: str
    hint: str
    """The first characters of the key."""
    permissions: frozenset[KeyPermission]
    second_factor: bool
    """Whether its owner proved a second factor, or the operator made the key."""
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    """Exact to a minute."""
    last_address: str | None
    revoked_at: datetime | None
    is_superseded: bool
    """Whether it ended because the owner's password was changed or all sign-ins were ended."""

    def state(self, now: datetime) -> str:
        """``active``, ``revoked`` or ``expired``."""
        if self.revoked_at is not None or self.is_superseded:
            return "revoked"
        return "active" if self.expires_at > now else "expired"


class ApiKeys:
    """The service of API keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        actor: Actor,
        user: User,
        *,
        name: str,
        permissions: Collection[KeyPermission],
        days: int,
        second_factor: bool,
    ) -> tuple[ApiKey, str]:
        """A new key and its secret, which is not stored. ``days``: 1 to :data:`MAX_DAYS`.

        Raises ``NotSuperuser`` for a permission that only administrators can give, and
        ``TooManyApiKeys``.
        """
        if not user.is_superuser and any(one.is_administrative for one in permissions):
            raise NotSuperuser
        secret, key_id = PREFIX + secrets.token_urlsafe(32), uuid4()
        now = datetime.now(UTC)
        granted = " ".join(sorted(permissions))
        async with self._database.begin() as connection:
            # The row lock makes concurrent creations wait for each other's count.
            owner = users.c.id == user.id
            await connection.execute(select(users.c.id).where(owner).with_for_update())
            count = select(func.count()).select_from(api_keys).join(users)
            count = count.where(_k.user_id == user.id, _is_current(now))
            if int((await connection.execute(count)).scalar_one()) >= MAX_OF_USER:
                raise TooManyApiKeys
            await connection.execute(
                api_keys.insert().values(
                    id=key_id,
                    user_id=user.id,
                    secret_hash=_hash(secret),
                    hint=secret[:_HINT],
                    name=name,
                    permissions=granted,
                    credential_version=user.credential_version,
                    second_factor=second_factor,
                    created_at=now,
                    expires_at=now + timedelta(days=min(max(days, 1), MAX_DAYS)),
                )
            )
            await record(
                connection,
                actor,
                "api_key.created",
                "api_key",
                key_id,
                name=name,
                permissions=granted,
            )
            row = (await connection.execute(_select().where(_k.id == key_id))).one()
        return _key_of(row), secret

    async def authenticate(
        self, secret: str, permission: KeyPermission | None, address: str | None
    ) -> tuple[User, ApiKey]:
        """The owner of a key and the key, for an operation that needs ``permission``.

        ``permission`` is ``None`` for an operation without keys. Raises ``CredentialsRejected``,
        ``InactiveUser`` and ``ApiKeyForbidden``.
        """
        row = None
        if _KEY.fullmatch(secret):
            query = select_users(*(column.label(f"k_{column.name}") for column in _SHOWN))
            query = query.join(api_keys, _k.user_id == users.c.id)
            async with self._database.read() as connection:
                row = (
                    await connection.execute(query.where(_k.secret_hash == _hash(secret)))
                ).one_or_none()
        now = datetime.now(UTC)
        key = None if row is None else _key_of(row, "k_")
        if row is None or key is None or key.state(now) != "active":
            API_KEY_CALLS.labels("rejected").inc()
            raise CredentialsRejected
        user = user_of(row)
        if not user.is_active:
            API_KEY_CALLS.labels("rejected").inc()
            raise InactiveUser
        if permission is None or permission not in key.permissions:
            API_KEY_CALLS.labels("forbidden").inc()
            raise _forbidden(permission)
        API_KEY_CALLS.labels("accepted").inc()
        if key.last_used_at is None or now - key.last_used_at > _TOUCH:
            await self._touch(key.id, now, address)
        return user, key

    async def _touch(self, key_id: UUID, now: datetime, address: str | None) -> None:
        async with self._database.begin() as connection:
            await connection.execute(
                update(api_keys)
                .where(_k.id == key_id)
                .values(last_used_at=now, last_address=address)
            )

    async def listed(
        self, *, user_id: UUID | None = None, limit: int = 100, offset: int = 0
    ) -> tuple[list[ApiKey], int]:
        """A page of keys, newest first, and the total count. ``user_id``: only of this user."""
        mine: list[ColumnElement[bool]] = [] if user_id is None else [_k.user_id == user_id]
        query = _select().where(*mine).order_by(_k.created_at.desc(), _k.id)
        count = select(func.count()).select_from(api_keys).where(*mine)
        async with self._database.read() as connection:
            total = (await connection.execute(count)).scalar_one()
            rows = (await connection.execute(query.limit(limit).offset(offset))).all()
        return [_key_of(row) for row in rows], int(total)

    async def revoke(self, actor: Actor, key_id: UUID, *, user_id: UUID | None = None) -> ApiKey:
        """End a key, at once and on every node; a key that has ended already is not an error.

        Raises ``NotFound`` if there is none, or if it does not belong to ``user_id``.
        """
        which = [_k.id == key_id, *([] if user_id is None else [_k.user_id == user_id])]
        async with self._database.begin() as connection:
            done = await connection.execute(
                update(api_keys).where(*which, _k.revoked_at.is_(None)).values(revoked_at=utcnow())
            )
            row = (await connection.execute(_select().where(*which))).one_or_none()
            if row is None:
                raise NotFound("There is no such API key.")
            key = _key_of(row)
            if done.rowcount:
                await record(connection, actor, "api_key.revoked", "api_key", key_id, name=key.name)
        return key


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _forbidden(permission: KeyPermission | None) -> ApiKeyForbidden:
    if permission is None:
        return ApiKeyForbidden("API keys can't do this. Sign in instead.")
    return ApiKeyForbidden(f"This API key lacks the permission {permission.value}.")


_IS_SUPERSEDED = case((_k.credential_version == users.c.credential_version, False), else_=True)
_SHOWN: tuple[ColumnElement[Any], ...] = tuple(
    _IS_SUPERSEDED.label(name) if name == "is_superseded" else _k[name]
    for name in ApiKey.__dataclass_fields__
)


def _select() -> Select[Any]:
    return select(*_SHOWN).join(users, users.c.id == _k.user_id)


def _is_current(now: datetime) -> ColumnElement[bool]:
    return and_(
        _k.revoked_at.is_(None),
        _k.expires_at > now,
        _k.credential_version == users.c.credential_version,
    )


def _key_of(row: Row[Any], prefix: str = "") -> ApiKey:
    values = {name: row._mapping[prefix + name] for name in ApiKey.__dataclass_fields__}
    known = {one.value for one in KeyPermission}
    # A permission that a newer version stored grants nothing here.
    granted = [name for name in values["permissions"].split() if name in known]
    values["permissions"] = frozenset(KeyPermission(name) for name in granted)
    values["is_superseded"] = bool(values["is_superseded"])
    return ApiKey(**values)


API_KEYS: web.AppKey[ApiKeys] = web.AppKey("api_keys", ApiKeys)

"""Users, and the bearer tokens (JWT) that authenticate them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from aiohttp import web
from sqlalchemy import Row, Select, select

from zenzefi.accounts.errors import CredentialsRejected, InactiveUser
from zenzefi.accounts.models import users
from zenzefi.accounts.passwords import NO_PASSWORD
from zenzefi.db.engine import Database
from zenzefi.keys import Keyring
from zenzefi.settings import Settings

_ALGORITHM = "HS256"
_LEEWAY = timedelta(seconds=30)  # for ``iat`` only: the clocks of two nodes may differ


@dataclass(frozen=True, slots=True)
class User:
    """An account, without its password."""

    id: UUID
    email: str
    username: str
    full_name: str | None
    is_active: bool
    is_superuser: bool
    currency_balance: Decimal
    created_at: datetime
    updated_at: datetime
    credential_version: int
    locale: str | None
    email_verified_at: datetime | None
    totp_enabled_at: datetime | None
    terms_version: str | None
    deleted_at: datetime | None = None
    allowed_scopes: str | None = None
    """JSON list of the scopes that the user can buy; ``None``: all."""
    has_password: bool = True
    """``False``: the user signs in with an identity provider only."""


_FIELDS = tuple(User.__dataclass_fields__)
_HAS_PASSWORD = (users.c.password_hash != NO_PASSWORD).label("has_password")


def select_users(*more: Any) -> Select[Any]:
    """``SELECT`` of the columns that :func:`user_of` needs, followed by ``more``."""
    columns = (_HAS_PASSWORD if name == "has_password" else users.c[name] for name in _FIELDS)
    return select(*columns, *more)


def user_of(row: Row[Any]) -> User:
    """The user in a row of :func:`select_users`."""
    return User(**{name: row._mapping[name] for name in _FIELDS})


@dataclass(frozen=True, slots=True)
class Bearer:
    """An issued bearer token; ``expires_in`` in seconds."""

    access_token: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class Presented:
    """A verified bearer token: its user, its ID (``jti``), and whether a second factor was used."""

    user: User
    jti: str | None
    second_factor: bool


class Identities:
    """Issues and verifies bearer tokens."""

    def __init__(self, settings: Settings, database: Database, keyring: Keyring) -> None:
        self._life = timedelta(minutes=settings.access_token_expire_minutes)
        self._database = database
        self._keyring = keyring

    def issue(self, user: User, *, second_factor: bool = False) -> Bearer:
        """A JWT (HS256) for this user, valid for ``ACCESS_TOKEN_EXPIRE_MINUTES``.

        ``second_factor``: whether the user signed in with one; stored in ``amr`` (RFC 8176).
        """
        import jwt  # its 4 MB of algorithms are loaded with the first bearer token

        now = datetime.now(UTC)
        claims = {
            "sub": str(user.id),
            "username": user.username,
            "iat": now,
            "exp": now + self._life,
            "jti": secrets.token_urlsafe(16),
            "cv": user.credential_version,
            "amr": ["pwd", "otp"] if second_factor else ["pwd"],
        }
        token = jwt.encode(claims, self._keyring.keys("jwt")[0], algorithm=_ALGORITHM)
        return Bearer(token, int(self._life.total_seconds()))

    def _claims(self, token: str) -> dict[str, Any]:
        import jwt

        for key in self._keyring.keys("jwt"):
            try:
                return jwt.decode(
                    token,
                    key,
                    algorithms=[_ALGORITHM],
                    options={"require": ["sub", "exp", "iat"], "verify_iat": False},
                )
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError):
                break
        raise CredentialsRejected

    async def authenticate(self, token: str) -> Presented:
        """Verify a bearer token.

        Raises ``CredentialsRejected`` (401), ``InactiveUser`` (403), ``DatabaseUnavailable``.
        """
        claims = self._claims(token)
        try:
            user_id = UUID(claims["sub"])
            issued = datetime.fromtimestamp(claims["iat"], UTC)
        except (ValueError, TypeError, OverflowError, OSError):
            raise CredentialsRejected from None
        if issued > datetime.now(UTC) + _LEEWAY:
            raise CredentialsRejected
        query = select_users(users.c.kept_jti).where(users.c.id == user_id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise CredentialsRejected
        jti = claims.get("jti")
        if claims.get("cv") != row.credential_version and (jti is None or jti != row.kept_jti):
            raise CredentialsRejected  # the password was changed after this token was issued
        if not row.is_active:
            raise InactiveUser
        methods = claims.get("amr")
        proven = isinstance(methods, list) and "otp" in methods
        return Presented(user_of(row), jti, proven)

    async def find(self, user_id: UUID) -> User | None:
        """The user with this ID, active or not."""
        async with self._database.read() as connection:
            row = (
                await connection.execute(select_users().where(users.c.id == user_id))
            ).one_or_none()
        return None if row is None else user_of(row)


IDENTITIES: web.AppKey[Identities] = web.AppKey("identities", Identities)

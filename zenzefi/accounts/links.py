"""One-time links in e-mails: a random secret in the link, its keyed hash in the database.

A link that was used has ``used_at``. One that became invalid otherwise (:func:`end_links`) has
expired.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from aiohttp import web
from sqlalchemy import Select, and_, func, select, update

from zenzefi.accounts.identity import User, select_users, user_of
from zenzefi.accounts.models import one_time_links, users
from zenzefi.accounts.schemas import email_key
from zenzefi.audit.log import Actor, record
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import storable, utcnow
from zenzefi.db.engine import Database
from zenzefi.errors import NotFound
from zenzefi.keys import Keyring

LIFE = timedelta(hours=1)
MOST = 5
"""Maximum of links to one user for one purpose within :data:`LIFE`, against flooded mailboxes."""

RESET_HOLD = timedelta(days=3)
"""After a new password by link, no link switches two-step sign-in off for this time.

Otherwise the mailbox alone would be enough for both steps: a link for the password, then one for
the second step. The owner has this time to notice that their password no longer works.
"""

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_l = one_time_links.c


class Purpose(StrEnum):
    """The purpose of a link. A link is not valid for another purpose."""

    RESET = "password_reset"
    VERIFY = "email_verification"
    SECOND_FACTOR = "second_factor_reset"


class Links:
    """The service of one-time links."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def issue(self, user: User, purpose: Purpose) -> str | None:
        """The secret of a new link. Older links for the same purpose become invalid.

        ``None`` if the user received :data:`MOST` links within :data:`LIFE`. Counting and writing
        are one transaction, so concurrent requests can't exceed the limit.
        """
        secret = secrets.token_urlsafe(32)
        now = datetime.now(UTC)
        async with self._database.begin() as connection:
            # Serializes transactions that issue links to this user (SQLite has one writer).
            await connection.execute(
                select(users.c.id).where(users.c.id == user.id).with_for_update()
            )
            if int((await connection.execute(_recent(user, purpose))).scalar_one()) >= MOST:
                return None
            await end_links(connection, user.id, purpose)
            await connection.execute(
                one_time_links.insert().values(
                    user_id=user.id,
                    purpose=purpose.value,
                    secret_index=self._keyring.index(purpose.value, secret),
                    payload=email_key(user.email),
                    created_at=now,
                    expires_at=now + LIFE,
                )
            )
        return secret

    async def enough(self, user: User, purpose: Purpose) -> bool:
        """Whether this user has reached the limit of links for this purpose."""
        async with self._database.read() as connection:
            return int((await connection.execute(_recent(user, purpose))).scalar_one()) >= MOST

    async def was_reset(self, user_id: UUID) -> bool:
        """Whether a link has replaced this user's password within :data:`RESET_HOLD`."""
        query = select(_l.id).where(
            _l.user_id == user_id,
            _l.purpose == Purpose.RESET.value,
            _l.used_at > datetime.now(UTC) - RESET_HOLD,
        )
        async with self._database.read() as connection:
            return (await connection.execute(query.limit(1))).first() is not None

    async def spend(self, purpose: Purpose, secret: str, *, user_id: UUID | None = None) -> UUID:
        """Use a link and return its user; ``user_id``: only this user's.

        Raises ``NotFound`` if it is used, expired or invalid, or was sent to another address than
        the user has now.
        """
        if not _SECRET.fullmatch(secret):
            raise NotFound
        fits = and_(
            # The address that the link was sent to is still the user's.
            _l.user_id == users.c.id,
            _l.payload == users.c.email_key,
            _l.purpose == purpose.value,
            _l.secret_index.in_(self._keyring.indexes(purpose.value, secret)),
            _l.used_at.is_(None),
            _l.expires_at > datetime.now(UTC),
        )
        async with self._database.begin() as connection:
            row = (await connection.execute(select(_l.id, _l.user_id).where(fits))).one_or_none()
            if row is None or user_id not in (None, row.user_id):
                raise NotFound
            done = await connection.execute(
                update(one_time_links)
                .where(_l.id == row.id, _l.used_at.is_(None), _l.expires_at > datetime.now(UTC))
                .values(used_at=utcnow())
            )
            if done.rowcount != 1:
                raise NotFound
        return UUID(str(row.user_id))

    async def confirm_address(self, actor: Actor, secret: str) -> None:
        """Mark the e-mail address of a link's user as confirmed. Raises ``NotFound``."""
        user_id = await self.spend(Purpose.VERIFY, secret)
        mine = replace(actor, user_id=user_id)
        async with self._database.begin() as connection:
            await connection.execute(
                update(users).where(users.c.id == user_id).values(email_verified_at=utcnow())
            )
            await record(connection, mine, "user.email_verified", "user", user_id)

    async def find_user(self, email: str) -> User | None:
        """The active user with this e-mail address."""
        query = select_users().where(
            users.c.email_key == email_key(storable(email.strip())), users.c.is_active
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else user_of(row)


async def end_links(connection: AsyncConnection, user_id: UUID, *purposes: Purpose) -> None:
    """Make the user's unused links for these purposes invalid, in the caller's transaction."""
    now = datetime.now(UTC)
    await connection.execute(
        update(one_time_links)
        .where(
            _l.user_id == user_id,
            _l.purpose.in_([purpose.value for purpose in purposes]),
            _l.used_at.is_(None),
            _l.expires_at > now,
        )
        .values(expires_at=now)
    )


def _recent(user: User, purpose: Purpose) -> Select[Any]:
    """The number of links for this purpose that this user received within :data:`LIFE`."""
    return (
        select(func.count())
        .select_from(one_time_links)
        .where(
            _l.user_id == user.id,
            _l.purpose == purpose.value,
            _l.created_at > datetime.now(UTC) - LIFE,
        )
    )


LINKS: web.AppKey[Links] = web.AppKey("links", Links)

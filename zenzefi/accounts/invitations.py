"""Invitations: one-time links with which visitors may register.

The link contains a random secret, the database its keyed hash.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from aiohttp import web
from sqlalchemy import ColumnElement, and_, func, or_, select, update

from zenzefi.accounts.errors import InvitationRequired
from zenzefi.accounts.models import invitations
from zenzefi.accounts.schemas import email_key
from zenzefi.audit.log import Actor, record
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.errors import NotFound
from zenzefi.keys import Keyring

MAX_DAYS = 90
"""The longest validity of a link."""

_PURPOSE = "invitation"
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_i = invitations.c


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation, without its secret."""

    id: UUID
    email: str | None
    """The only address that can register with it; ``None``: any."""
    note: str | None
    created_by: UUID | None
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    used_by: UUID | None
    withdrawn_at: datetime | None

    def state(self, now: datetime) -> str:
        """``open``, ``used``, ``withdrawn`` or ``expired``."""
        if self.used_at is not None:
            return "used"
        if self.withdrawn_at is not None:
            return "withdrawn"
        return "open" if self.expires_at > now else "expired"


class Invitations:
    """The service of invitations."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def create(
        self, actor: Actor, *, email: str | None = None, note: str | None = None, days: int = 7
    ) -> tuple[Invitation, str]:
        """A new invitation and its secret, which is not stored. ``days``: 1 to :data:`MAX_DAYS`."""
        secret, invitation_id = secrets.token_urlsafe(32), uuid4()
        now = datetime.now(UTC)
        async with self._database.begin() as connection:
            await connection.execute(
                invitations.insert().values(
                    id=invitation_id,
                    secret_index=self._keyring.index(_PURPOSE, secret),
                    email=email,
                    email_key=None if email is None else email_key(email),
                    note=note or None,
                    created_by=actor.user_id,
                    created_at=now,
                    expires_at=now + timedelta(days=min(max(days, 1), MAX_DAYS)),
                )
            )
            await record(
                connection,
                actor,
                "invitation.created",
                "invitation",
                invitation_id,
                **{name: value for name, value in (("email", email), ("note", note)) if value},
            )
            row = (await connection.execute(select(*_SHOWN).where(_i.id == invitation_id))).one()
        return Invitation(*row), secret

    async def listed(self, *, limit: int, offset: int) -> tuple[list[Invitation], int]:
        """A page of invitations, newest first, and the total count."""
        query = select(*_SHOWN).order_by(_i.created_at.desc(), _i.id).limit(limit).offset(offset)
        async with self._database.read() as connection:
            total = (
                await connection.execute(select(func.count()).select_from(invitations))
            ).scalar_one()
            rows = (await connection.execute(query)).all()
        return [Invitation(*row) for row in rows], int(total)

    async def withdraw(self, actor: Actor, invitation_id: UUID) -> None:
        """Make an open invitation invalid. Raises ``NotFound`` if it is not open."""
        open_one = and_(_i.id == invitation_id, _i.used_at.is_(None), _i.withdrawn_at.is_(None))
        async with self._database.begin() as connection:
            done = await connection.execute(
                update(invitations).where(open_one).values(withdrawn_at=utcnow())
            )
            if done.rowcount != 1:
                raise NotFound("There is no such open invitation.")
            await record(connection, actor, "invitation.withdrawn", "invitation", invitation_id)

    async def address_of(self, secret: str) -> str | None:
        """The address that an invitation is bound to; ``None``: any.

        Raises ``InvitationRequired`` if the link is invalid, used, withdrawn or expired.
        """
        async with self._database.read() as connection:
            row = (
                await connection.execute(select(_i.email).where(self._is_open(secret)))
            ).one_or_none()
        if row is None:
            raise InvitationRequired
        found: str | None = row.email
        return found

    async def spend(
        self, connection: AsyncConnection, secret: str, email: str, user_id: UUID
    ) -> None:
        """Use an invitation in the caller's transaction. Raises ``InvitationRequired``."""
        address = or_(_i.email_key.is_(None), _i.email_key == email_key(email))
        done = await connection.execute(
            update(invitations)
            .where(self._is_open(secret), address)
            .values(used_at=utcnow(), used_by=user_id)
        )
        if done.rowcount != 1:
            raise InvitationRequired

    def _is_open(self, secret: str) -> ColumnElement[bool]:
        if not _SECRET.fullmatch(secret):
            raise InvitationRequired
        return and_(
            _i.secret_index.in_(self._keyring.indexes(_PURPOSE, secret)),
            _i.used_at.is_(None),
            _i.withdrawn_at.is_(None),
            _i.expires_at > datetime.now(UTC),
        )


_SHOWN = tuple(_i[name] for name in Invitation.__dataclass_fields__)

INVITATIONS: web.AppKey[Invitations] = web.AppKey("invitations", Invitations)

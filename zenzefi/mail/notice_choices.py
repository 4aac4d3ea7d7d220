"""Which notices a user gets, and in which language."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import delete, select, update

from zenzefi.accounts.models import users
from zenzefi.db.engine import Database
from zenzefi.mail.models import muted_notices
from zenzefi.mail.notice_kinds import NoticeKind

_m = muted_notices.c


async def muted(database: Database, user_id: UUID) -> set[str]:
    """The kinds of notices that a user has switched off."""
    async with database.read() as connection:
        rows = await connection.execute(select(_m.kind).where(_m.user_id == user_id))
        return {row.kind for row in rows}


async def store(
    database: Database, user_id: UUID, kinds: Iterable[NoticeKind], *, locale: str
) -> None:
    """Switch these kinds off and all others on; ``locale`` is the language of the e-mails."""
    async with database.begin() as connection:
        # Locks the user's row, so that two forms are stored one after the other.
        await connection.execute(update(users).where(users.c.id == user_id).values(locale=locale))
        await connection.execute(delete(muted_notices).where(_m.user_id == user_id))
        rows = [{"user_id": user_id, "kind": kind.value} for kind in kinds]
        if rows:
            await connection.execute(muted_notices.insert(), rows)

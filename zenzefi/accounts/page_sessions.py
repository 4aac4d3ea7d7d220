"""Page sessions: sign-ins of browsers; a random secret in a cookie, its keyed hash in the database.

A page session ends after :data:`IDLE` without use, after :data:`ABSOLUTE` at the latest, or when
its user ends it, changes the password or is deactivated. Each sign-in creates a new session, so a
secret that an attacker planted before the sign-in stays useless (session fixation).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from aiohttp import web
from sqlalchemy import ColumnElement, and_, delete, select, update

from zenzefi.accounts.identity import User, select_users, user_of
from zenzefi.accounts.models import users, web_sessions
from zenzefi.audit.log import Actor, record
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.errors import NotFound
from zenzefi.keys import Keyring

IDLE = timedelta(hours=12)
ABSOLUTE = timedelta(days=14)
MAX_OF_USER = 100
"""Maximum of stored sessions per user, ended ones included; the oldest ones are deleted."""
_TOUCH = timedelta(seconds=60)  # interval of writes of last_seen_at
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_PURPOSE = "page-session"


@dataclass(frozen=True, slots=True)
class ProviderSession:
    """The session at an identity provider from which a page session was started."""

    identity_id: UUID
    sid: str | None
    """The provider's name for it."""
    id_token: str
    """The ID token, for the sign-out there; may be empty."""


@dataclass(frozen=True, slots=True)
class PageSession:
    """A page session, without its secret."""

    id: UUID
    address: str | None
    agent: str | None
    created_at: datetime
    last_seen_at: datetime
    second_factor_at: datetime | None
    identity_id: UUID | None = None
    """The identity with which the user signed in; ``None``: with a password."""


class PageSessions:
    """The service of page sessions."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def start(
        self,
        actor: Actor,
        user: User,
        agent: str | None,
        *,
        second_factor: bool = False,
        provider_session: ProviderSession | None = None,
    ) -> str:
        """Start a session and return its secret (43 URL-safe characters), which is not stored."""
        secret = secrets.token_urlsafe(32)
        now = datetime.now(UTC)
        async with self._database.begin() as connection:
            await connection.execute(
                web_sessions.insert().values(
                    user_id=user.id,
                    secret_index=self._keyring.index(_PURPOSE, secret),
                    credential_version=user.credential_version,
                    address=actor.address,
                    agent=None if agent is None else agent[:300],
                    created_at=now,
                    last_seen_at=now,
                    expires_at=now + ABSOLUTE,
                    second_factor_at=now if second_factor else None,
                    **self._provider_values(provider_session),
                )
            )
            # Repeated sign-ins must not fill the table.
            kept = (
                select(web_sessions.c.id)
                .where(web_sessions.c.user_id == user.id)
                .order_by(web_sessions.c.created_at.desc(), web_sessions.c.id)
                .limit(MAX_OF_USER)
            )
            await connection.execute(
                delete(web_sessions).where(
                    web_sessions.c.user_id == user.id, web_sessions.c.id.not_in(kept)
                )
            )
        return secret

    def _provider_values(self, session: ProviderSession | None) -> dict[str, Any]:
        if session is None:
            return {}
        token = session.id_token
        return {
            "identity_id": session.identity_id,
            "provider_sid": session.sid,
            "id_token": self._keyring.encrypt(token.encode()) if token else None,
        }

    async def id_token(self, session_id: UUID) -> str:
        """The ID token of the sign-in; empty if there is none that can be decrypted."""
        query = select(web_sessions.c.id_token).where(web_sessions.c.id == session_id)
        async with self._database.read() as connection:
            sealed = (await connection.execute(query)).scalar_one_or_none()
        if sealed is None:
            return ""
        try:
            return self._keyring.decrypt(bytes(sealed)).decode()
        except LookupError:
            return ""

    async def find(self, secret: str) -> tuple[User, PageSession] | None:
        """The active user and the session of a secret; ``None`` if the session has ended."""
        found = await self.find_all([secret])
        return found[0][1:] if found else None

    async def find_all(self, offered: Sequence[str]) -> list[tuple[str, User, PageSession]]:
        """The sessions of these secrets that have not ended, in the order of the secrets."""
        wanted = {
            index: secret
            for secret in offered
            if _SECRET.fullmatch(secret)
            for index in self._keyring.indexes(_PURPOSE, secret)
        }
        if not wanted:
            return []
        query = (
            select_users(
                web_sessions.c.secret_index.label("s_secret_index"),
                *(web_sessions.c[name].label(f"s_{name}") for name in _SHOWN),
            )
            .join(web_sessions, web_sessions.c.user_id == users.c.id)
            .where(
                web_sessions.c.secret_index.in_(list(wanted)),
                web_sessions.c.credential_version == users.c.credential_version,
                users.c.is_active,
                _open(datetime.now(UTC)),
            )
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        found = {}
        for row in rows:
            session = PageSession(**{name: getattr(row, f"s_{name}") for name in _SHOWN})
            secret = wanted[bytes(row.s_secret_index)]
            found[secret] = secret, user_of(row), session
        return [found[secret] for secret in dict.fromkeys(offered) if secret in found]

    async def touch(self, session: PageSession) -> None:
        """Update the time of last use, at most once a minute."""
        now = datetime.now(UTC)
        if now - session.last_seen_at > _TOUCH:
            async with self._database.begin() as connection:
                await connection.execute(
                    update(web_sessions)
                    .where(web_sessions.c.id == session.id)
                    .values(last_seen_at=now)
                )

    async def move(self, actor: Actor, user_id: UUID, session_id: UUID, agent: str | None) -> None:
        """Bind a session to the network and browser of the actor. Raises ``NotFound`` if ended."""
        mine = and_(
            web_sessions.c.id == session_id,
            web_sessions.c.user_id == user_id,
            web_sessions.c.ended_at.is_(None),
        )
        values = {"address": actor.address, "agent": None if agent is None else agent[:300]}
        async with self._database.begin() as connection:
            done = await connection.execute(update(web_sessions).where(mine).values(**values))
            if not done.rowcount:
                raise NotFound
            await record(connection, actor, "user.sign_in_moved", "page_session", session_id)

    async def strengthen(self, session_id: UUID) -> None:
        """Record that this session has passed the second factor."""
        async with self._database.begin() as connection:
            await connection.execute(
                update(web_sessions)
                .where(web_sessions.c.id == session_id)
                .values(second_factor_at=utcnow())
            )

    async def of_user(self, user_id: UUID) -> list[PageSession]:
        """The sessions of a user that have not ended, the last used first."""
        query = (
            select(*(web_sessions.c[name] for name in _SHOWN))
            .join(users, users.c.id == web_sessions.c.user_id)
            .where(
                web_sessions.c.user_id == user_id,
                web_sessions.c.credential_version == users.c.credential_version,
                _open(datetime.now(UTC)),
            )
            .order_by(web_sessions.c.last_seen_at.desc())
            .limit(100)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return [PageSession(*row) for row in rows]

    async def end(self, actor: Actor, user_id: UUID, session_id: UUID) -> None:
        """End a session. Raises ``NotFound`` if it belongs to another user or has ended."""
        mine = and_(
            web_sessions.c.id == session_id,
            web_sessions.c.user_id == user_id,
            web_sessions.c.ended_at.is_(None),
        )
        async with self._database.begin() as connection:
            done = await connection.execute(
                update(web_sessions).where(mine).values(ended_at=utcnow(), id_token=None)
            )
            if not done.rowcount:
                raise NotFound
            await record(connection, actor, "user.signed_out", "page_session", session_id)

    async def end_others(self, actor: Actor, user_id: UUID, keep: UUID) -> int:
        """End all sessions of a user except one. Returns their number."""
        others = and_(
            web_sessions.c.user_id == user_id,
            web_sessions.c.id != keep,
            web_sessions.c.ended_at.is_(None),
        )
        async with self._database.begin() as connection:
            done = await connection.execute(
                update(web_sessions).where(others).values(ended_at=utcnow(), id_token=None)
            )
            if done.rowcount:
                await record(
                    connection, actor, "user.sign_ins_ended", "user", user_id, count=done.rowcount
                )
        return done.rowcount


_SHOWN = tuple(PageSession.__dataclass_fields__)


def _open(now: datetime) -> ColumnElement[bool]:
    return and_(
        web_sessions.c.ended_at.is_(None),
        web_sessions.c.expires_at > now,
        web_sessions.c.last_seen_at > now - IDLE,
    )


PAGE_SESSIONS: web.AppKey[PageSessions] = web.AppKey("page_sessions", PageSessions)

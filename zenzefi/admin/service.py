"""The service of administrators: users, credits, tokens."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal
from uuid import UUID

from aiohttp import web
from sqlalchemy import ColumnElement, and_, func, or_, select, update

from zenzefi.accounts.identity import User, select_users, user_of
from zenzefi.accounts.models import users
from zenzefi.accounts.schemas import email_key, username_key
from zenzefi.accounts.service import end_web_sessions
from zenzefi.audit.log import Actor, record
from zenzefi.billing import ledger
from zenzefi.billing.ledger import Kind, Movement
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import storable, utcnow
from zenzefi.db.engine import Database
from zenzefi.errors import Conflict, NotFound
from zenzefi.tokens.invalidation import DEACTIVATED, InvalidationMessage
from zenzefi.tokens.models import access_tokens, usage_sessions
from zenzefi.tokens.service import Tokens
from zenzefi.tokens.sessions import end_sessions
from zenzefi.tokens.token_records import TokenRecord, is_active, select_tokens, token_record

_ESCAPE = "\\"


class LastAdministrator(Conflict):
    """The change would leave no active administrator."""

    code = "last_administrator"
    default = "This is the last active administrator. Make another user an administrator first."


def _containing(text: str) -> str:
    """A LIKE pattern that finds ``text``; its wildcards are escaped."""
    for special in (_ESCAPE, "%", "_"):
        text = text.replace(special, _ESCAPE + special)
    return f"%{text}%"


class Administration:
    """The service of administrators. Callers check that the user is one."""

    def __init__(self, database: Database, tokens: Tokens) -> None:
        self._database = database
        self._tokens = tokens

    async def users(
        self, *, search: str | None, is_active: bool | None, limit: int, offset: int
    ) -> tuple[list[User], int]:
        """A page of users, newest first, and the total count."""
        where: list[ColumnElement[bool]] = []
        if is_active is not None:
            where.append(users.c.is_active.is_(is_active))
        text = storable((search or "").replace("\0", "")).strip()
        if text:
            pattern = _containing(text.casefold())
            columns = (users.c.email_key, users.c.username_key, func.lower(users.c.full_name))
            where.append(or_(*(column.like(pattern, escape=_ESCAPE) for column in columns)))
        query = select_users().where(*where).order_by(users.c.created_at.desc(), users.c.id)
        count = select(func.count()).select_from(users).where(*where)
        async with self._database.read() as connection:
            total = int((await connection.execute(count)).scalar_one())
            rows = await connection.execute(query.limit(limit).offset(offset))
            return [user_of(row) for row in rows], total

    async def change_user(self, actor: Actor, user_id: UUID, changes: dict[str, bool]) -> User:
        """Set ``is_active`` or ``is_superuser``.

        Deactivation invalidates the user's tokens, ends sessions and closes open connections on
        every node. Raises ``NotFound``, ``LastAdministrator``.
        """
        async with self._database.begin() as connection:
            others = await self._lock_administrators(connection, user_id)
            before = await self._user(connection, user_id)
            values = {k: v for k, v in changes.items() if v != getattr(before, k)}
            if not values:
                return before
            if True in values.values() and before.deleted_at is not None:
                raise NotFound("This account was deleted.")
            if before.is_superuser and before.is_active and False in values.values() and not others:
                raise LastAdministrator
            await connection.execute(
                update(users).where(users.c.id == user_id).values(**values, updated_at=utcnow())
            )
            if values.get("is_active") is False:
                await end_web_sessions(connection, user_id)
                await end_sessions(connection, usage_sessions.c.user_id == user_id, "deactivated")
            await record(connection, actor, "user.changed", "user", user_id, **values)
            after = await self._user(connection, user_id)
            plain: list[str] = []
            if "is_active" in values:
                # Read before the commit, so that no failure can prevent the announcement after it.
                plain = await self._tokens.plaintexts_of_user(connection, user_id)
        if "is_active" in values:
            kind = "restored" if after.is_active else "user"
            await self._tokens.token_validator.announce(
                InvalidationMessage(kind, user_id, DEACTIVATED), plain
            )
        return after

    async def _user(self, connection: AsyncConnection, user_id: UUID) -> User:
        row = (await connection.execute(select_users().where(users.c.id == user_id))).one_or_none()
        if row is None:
            raise NotFound("There is no such user.")
        return user_of(row)

    async def _lock_administrators(self, connection: AsyncConnection, user_id: UUID) -> bool:
        """Lock this user and all active administrators; whether there is another administrator.

        Prevents two administrators from removing each other's rights concurrently. Rows are locked
        in one order, so that transactions can't deadlock.
        """
        held = await connection.execute(
            select(users.c.id, users.c.is_superuser, users.c.is_active)
            .where(or_(users.c.id == user_id, and_(users.c.is_superuser, users.c.is_active)))
            .order_by(users.c.id)
            .with_for_update()
        )
        return any(row.id != user_id for row in held)

    async def credit(
        self,
        connection: AsyncConnection,
        actor: Actor,
        user_id: UUID,
        *,
        amount: Decimal,
        reason: str,
        kind: Kind,
    ) -> Movement:
        """Credit an account in the caller's transaction, with a ledger row and an audit row.

        ``amount`` is in ZNC. Raises ``NotFound``.
        """
        await self._user(connection, user_id)
        movement = await ledger.move(
            connection, user_id, amount, kind, reason, actor_id=actor.user_id
        )
        await record(
            connection,
            actor,
            "user.credited",
            "user",
            user_id,
            amount=f"{amount:.2f}",
            reason=reason,
            type=kind.value,
        )
        return movement

    async def tokens(
        self, *, user_id: UUID | None, active_only: bool, limit: int, offset: int
    ) -> tuple[list[tuple[TokenRecord, str]], int]:
        """A page of tokens (without values) with their owners' names, and the total count."""
        where: list[ColumnElement[bool]] = []
        if user_id is not None:
            where.append(access_tokens.c.user_id == user_id)
        if active_only:
            where.append(is_active())
        query = (
            select_tokens(users.c.username)
            .join(users, users.c.id == access_tokens.c.user_id)
            .where(*where)
            .order_by(access_tokens.c.created_at.desc(), access_tokens.c.id)
        )
        count = select(func.count()).select_from(access_tokens).where(*where)
        async with self._database.read() as connection:
            total = int((await connection.execute(count)).scalar_one())
            rows = await connection.execute(query.limit(limit).offset(offset))
            keyring = self._tokens.keyring
            found = [(token_record(row, keyring, reveal=False), str(row.username)) for row in rows]
        return found, total

    async def names(self, user_ids: Iterable[UUID | None]) -> dict[UUID, str]:
        """The usernames of these IDs, in one query."""
        wanted = {one for one in user_ids if one is not None}
        if not wanted:
            return {}
        query = select(users.c.id, users.c.username).where(users.c.id.in_(wanted))
        async with self._database.read() as connection:
            return {row.id: str(row.username) for row in await connection.execute(query)}

    async def token_prefixes(self, token_ids: Iterable[UUID]) -> dict[UUID, str]:
        """The first characters of the tokens with these IDs, in one query."""
        query = select(access_tokens.c.id, access_tokens.c.prefix)
        query = query.where(access_tokens.c.id.in_(set(token_ids)))
        async with self._database.read() as connection:
            return {row.id: str(row.prefix) for row in await connection.execute(query)}

    async def find_user(self, text: str) -> UUID | None:
        """The ID of the user with this ID, e-mail address or username, in this order."""
        text = storable(text.strip())
        by_address = users.c.email_key == email_key(text)
        where = or_(by_address, users.c.username_key == username_key(text))
        with suppress(ValueError):
            where = users.c.id == UUID(text)
        async with self._database.read() as connection:
            found: UUID | None = (
                await connection.execute(
                    select(users.c.id).where(where).order_by(by_address.desc()).limit(1)
                )
            ).scalar_one_or_none()
        return found


ADMINISTRATION: web.AppKey[Administration] = web.AppKey("administration", Administration)

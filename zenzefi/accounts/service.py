"""The service of accounts: registration, sign-in, changes of the profile and password."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web
from sqlalchemy import ColumnElement, select, update
from sqlalchemy.exc import IntegrityError

from zenzefi.accounts.errors import (
    EmailTaken,
    LoginRejected,
    PasswordSignInOff,
    UsernameTaken,
)
from zenzefi.accounts.identity import Identities, User, select_users, user_of
from zenzefi.accounts.links import Purpose, end_links
from zenzefi.accounts.models import users, web_sessions
from zenzefi.accounts.passwords import NO_PASSWORD, Passwords
from zenzefi.accounts.schemas import email_key, username_key
from zenzefi.audit.log import Actor, record
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import storable, utcnow
from zenzefi.db.engine import Database
from zenzefi.errors import NotFound
from zenzefi.observability.metrics import AUTH_ATTEMPTS

log = logging.getLogger(__name__)


WithinRegistration = Callable[[AsyncConnection, UUID], Awaitable[None]]
"""Writes more rows in the transaction that inserts a new user with this ID."""


class Accounts:
    """The service of accounts. Callers validate values before (``schemas.py``)."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        identities: Identities,
        *,
        password_sign_in: bool = True,
    ) -> None:
        self._database = database
        self._password_sign_in = password_sign_in
        self.passwords = passwords
        self.identities = identities

    async def _refuse_taken(self, connection: AsyncConnection, email: str, username: str) -> None:
        for column, key, error in (
            (users.c.email_key, email_key(email), EmailTaken),
            (users.c.username_key, username_key(username), UsernameTaken),
        ):
            if (await connection.execute(select(users.c.id).where(column == key))).first():
                raise error

    async def register(
        self,
        actor: Actor,
        *,
        email: str,
        username: str,
        password: str | None,
        full_name: str | None = None,
        is_superuser: bool = False,
        is_confirmed: bool = False,
        within: WithinRegistration | None = None,
        details: Mapping[str, str] | None = None,
    ) -> User:
        """Create an account. Raises ``EmailTaken`` or ``UsernameTaken``.

        ``password=None``: the user signs in with an identity provider. ``is_confirmed``: the
        operator or the provider has verified the address. ``within`` is called in the transaction;
        what it raises cancels the registration. ``details`` are for the audit log.
        """
        async with self._database.read() as connection:
            await self._refuse_taken(connection, email, username)
        hashed = NO_PASSWORD if password is None else await self.passwords.hash(password)
        user_id = uuid4()
        values = {
            "id": user_id,
            "email": email,
            "email_key": email_key(email),
            "username": username,
            "username_key": username_key(username),
            "full_name": full_name or None,
            "password_hash": hashed,
            "is_superuser": is_superuser,
            "email_verified_at": utcnow() if is_confirmed else None,
        }
        try:
            async with self._database.begin() as connection:
                await connection.execute(users.insert().values(**values))
                if within is not None:
                    await within(connection, user_id)
                mine = replace(actor, user_id=actor.user_id or user_id)
                await record(
                    connection, mine, "user.registered", "user", user_id, **(details or {})
                )
                return await _one(connection, users.c.id == user_id)
        except IntegrityError:
            # A concurrent registration took the name or the address: find out which one.
            async with self._database.read() as connection:
                await self._refuse_taken(connection, email, username)
            raise

    async def sign_in(
        self, actor: Actor, email: str, password: str, *, connects: bool = False
    ) -> User:
        """The user of these credentials. An outdated password hash is replaced.

        ``connects``: the user has signed in with an identity provider too, and confirms that the
        account is theirs. Raises ``LoginRejected``, after the same work, for an unknown address, a
        wrong password and a deactivated account, and ``PasswordSignInOff``.
        """
        if not self._password_sign_in and not connects:
            raise PasswordSignInOff
        async with self._database.read() as connection:
            row = (
                await connection.execute(
                    select_users(users.c.password_hash).where(
                        users.c.email_key == email_key(storable(email.strip()))
                    )
                )
            ).one_or_none()
        known = None if row is None else row.password_hash
        good, better = await self.passwords.verify(password, known)
        if row is None or not good or not row.is_active:
            AUTH_ATTEMPTS.labels("rejected").inc()
            await self._record_failure(actor, None if row is None else row.id)
            raise LoginRejected
        AUTH_ATTEMPTS.labels("success").inc()
        user = user_of(row)
        mine = replace(actor, user_id=user.id)
        async with self._database.begin() as connection:
            if better is not None:
                await connection.execute(
                    update(users)
                    .where(users.c.id == user.id, users.c.password_hash == known)
                    .values(password_hash=better)
                )
            await record(connection, mine, "user.signed_in", "user", user.id)
        return user

    async def _record_failure(self, actor: Actor, user_id: UUID | None) -> None:
        async with self._database.begin() as connection:
            await record(connection, actor, "user.sign_in_failed", "user", user_id)

    async def is_password(self, actor: Actor, user_id: UUID, password: str) -> bool:
        """Whether this is the user's password; required before changes of credentials."""
        async with self._database.read() as connection:
            known = (
                await connection.execute(select(users.c.password_hash).where(users.c.id == user_id))
            ).scalar_one_or_none()
        good, _ = await self.passwords.verify(password, known)
        if not good:
            await self._record_failure(actor, user_id)
        return good

    async def change(
        self,
        actor: Actor,
        user_id: UUID,
        *,
        keep_jti: str | None = None,
        keep_session: UUID | None = None,
        **changes: Any,
    ) -> User:
        """Change ``full_name``, ``password`` or both.

        A new password invalidates all bearer tokens except ``keep_jti``, ends all page sessions
        except ``keep_session``, and ends the links for a password or the second step: after a reset
        by one link, the mailbox must not be enough for the other. Raises ``NotFound`` if the
        account does not exist, and ``PasswordSignInOff``.
        """
        password = changes.pop("password", None)
        if password is not None and not self._password_sign_in:
            raise PasswordSignInOff
        values: dict[str, Any] = {"updated_at": utcnow()}
        if "full_name" in changes:
            values["full_name"] = changes.pop("full_name") or None
        if changes:
            raise TypeError(f"unknown changes: {sorted(changes)}")
        if password is not None:
            values["password_hash"] = await self.passwords.hash(password)
            values["credential_version"] = users.c.credential_version + 1
            values["kept_jti"] = keep_jti
        async with self._database.begin() as connection:
            await connection.execute(update(users).where(users.c.id == user_id).values(**values))
            if password is not None:
                await end_web_sessions(connection, user_id, keep=keep_session)
                await end_links(connection, user_id, Purpose.RESET, Purpose.SECOND_FACTOR)
                await record(connection, actor, "user.password_changed", "user", user_id)
            return await _one(connection, users.c.id == user_id)


async def end_web_sessions(
    connection: AsyncConnection, user_id: UUID, *, keep: UUID | None = None
) -> None:
    """End the page sessions of a user; ``keep`` is updated to the new credential version."""
    open_ones = (web_sessions.c.user_id == user_id) & web_sessions.c.ended_at.is_(None)
    if keep is not None:
        version = select(users.c.credential_version).where(users.c.id == user_id).scalar_subquery()
        await connection.execute(
            update(web_sessions)
            .where(open_ones, web_sessions.c.id == keep)
            .values(credential_version=version)
        )
        open_ones &= web_sessions.c.id != keep
    await connection.execute(
        update(web_sessions).where(open_ones).values(ended_at=utcnow(), id_token=None)
    )


async def _one(connection: AsyncConnection, which: ColumnElement[bool]) -> User:
    row = (await connection.execute(select_users().where(which))).one_or_none()
    if row is None:
        raise NotFound
    return user_of(row)


ACCOUNTS: web.AppKey[Accounts] = web.AppKey("accounts", Accounts)
PasswordChanged = Callable[[web.Request, User], None]
ON_PASSWORD_CHANGE: web.AppKey[list[PasswordChanged]] = web.AppKey("on_password_change", list)
"""Called after a user changed the password on a page or by the API; sends an e-mail."""

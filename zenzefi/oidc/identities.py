"""Identities: sign-ins at identity providers that are connected to users.

An identity is the pair of issuer and subject (OpenID Connect Core 1.0, 5.7). Its address is shown
and proves the address of a new account; it never selects an account by itself, because a provider
could name any address: the owner of an existing account confirms the connection.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError

from zenzefi.accounts.errors import EmailTaken, UsernameTaken
from zenzefi.accounts.identity import User, select_users, user_of
from zenzefi.accounts.models import user_identities, users
from zenzefi.accounts.page_sessions import ProviderSession
from zenzefi.accounts.registration import Registrations
from zenzefi.accounts.schemas import EmailAddress, FullName, email_key
from zenzefi.accounts.service import Accounts
from zenzefi.audit.log import Actor, record
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.errors import NotFound
from zenzefi.observability.metrics import AUTH_ATTEMPTS
from zenzefi.oidc.errors import (
    AccountNotCreated,
    AddressNotVerified,
    IdentityTaken,
    LastSignInMethod,
    ProviderSignInRejected,
)
from zenzefi.oidc.flow import ProviderAccount
from zenzefi.settings import Settings

_i = user_identities.c
_EMAIL: TypeAdapter[str] = TypeAdapter(EmailAddress)
_FULL_NAME: TypeAdapter[str] = TypeAdapter(FullName)
_ATTEMPTS = 5  # to find a username that is free
MAX_OF_USER = 10
"""Identities of one user."""


@dataclass(frozen=True, slots=True)
class ConnectedIdentity:
    """An identity of a user."""

    id: UUID
    provider: str
    email: str | None
    created_at: datetime
    last_used_at: datetime


class ConnectedIdentities:
    """The service of identities."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        accounts: Accounts,
        registrations: Registrations,
    ) -> None:
        self._settings = settings
        self._database = database
        self._accounts = accounts
        self._registrations = registrations

    async def find(self, account: ProviderAccount) -> User | None:
        """The user of this identity, active or not."""
        query = (
            select_users()
            .join(user_identities, _i.user_id == users.c.id)
            .where(_i.issuer == account.issuer, _i.subject == account.subject)
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else user_of(row)

    async def provider_of(self, identity_id: UUID) -> str | None:
        """The name of the provider of an identity."""
        query = select(_i.provider).where(_i.id == identity_id)
        async with self._database.read() as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    async def of_user(self, user_id: UUID) -> Sequence[ConnectedIdentity]:
        """The identities of a user, the oldest first."""
        query = (
            select(*(_i[name] for name in ConnectedIdentity.__dataclass_fields__))
            .where(_i.user_id == user_id)
            .order_by(_i.created_at, _i.id)
        )
        async with self._database.read() as connection:
            return [ConnectedIdentity(*row) for row in (await connection.execute(query)).all()]

    async def signed_in(
        self, actor: Actor, user: User, account: ProviderAccount
    ) -> ProviderSession:
        """Record a sign-in with a connected identity.

        Raises ``ProviderSignInRejected`` if the account is deactivated.
        """
        if not user.is_active:
            await self.failed(actor, account.provider, "the account is deactivated", user.id)
            raise ProviderSignInRejected("the account is deactivated")
        AUTH_ATTEMPTS.labels("success").inc()
        mine = replace(actor, user_id=user.id)
        is_meant = (_i.issuer == account.issuer) & (_i.subject == account.subject)
        async with self._database.begin() as connection:
            query = select(_i.id).where(is_meant)
            identity_id = (await connection.execute(query)).scalar_one()
            await connection.execute(
                update(user_identities)
                .where(is_meant)
                .values(
                    last_used_at=utcnow(), email=account.email or None, provider=account.provider
                )
            )
            await record(
                connection, mine, "user.signed_in", "user", user.id, provider=account.provider
            )
        return ProviderSession(identity_id, account.sid or None, account.id_token)

    async def failed(
        self, actor: Actor, provider: str, reason: str, user_id: UUID | None = None
    ) -> None:
        """Record a sign-in that was rejected."""
        AUTH_ATTEMPTS.labels("rejected").inc()
        async with self._database.begin() as connection:
            await record(
                connection,
                actor,
                "user.sign_in_failed",
                "user",
                user_id,
                provider=provider,
                reason=reason[:200],
            )

    async def connect(self, actor: Actor, user: User, account: ProviderAccount) -> None:
        """Connect an identity with a user who has confirmed it.

        Raises ``IdentityTaken`` if it belongs to another user, or if the user has
        :data:`MAX_OF_USER` identities. A second call changes nothing.
        """
        try:
            async with self._database.begin() as connection:
                await self._insert(connection, actor, user.id, account)
        except IntegrityError:
            owner = await self.find(account)
            if owner is None or owner.id != user.id:
                raise IdentityTaken from None

    async def disconnect(self, actor: Actor, user: User, identity_id: UUID) -> None:
        """Remove an identity of a user.

        Raises ``NotFound``, and ``LastSignInMethod`` if the user could not sign in any more.
        """
        async with self._database.begin() as connection:
            # Serializes transactions of this user (SQLite has one writer).
            query = select(users.c.id).where(users.c.id == user.id).with_for_update()
            await connection.execute(query)
            count = select(func.count()).select_from(user_identities).where(_i.user_id == user.id)
            has_password = user.has_password and self._settings.password_sign_in
            if not has_password and (await connection.execute(count)).scalar_one() <= 1:
                raise LastSignInMethod
            done = await connection.execute(
                delete(user_identities).where(_i.id == identity_id, _i.user_id == user.id)
            )
            if done.rowcount != 1:
                raise NotFound
            await record(connection, actor, "user.identity_removed", "user", user.id)

    async def register(
        self, actor: Actor, account: ProviderAccount, *, creates: bool | None
    ) -> User:
        """Create an account for a person who has none, with a verified address.

        ``creates``: whether the provider creates accounts; ``None``: where registration is open.
        Raises ``AccountNotCreated``, ``AddressNotVerified``, ``MailDomainRefused``, and
        ``EmailTaken`` if the address belongs to an account.
        """
        if not account.is_verified:
            raise AddressNotVerified
        try:
            email = _EMAIL.validate_python(account.email)
        except ValidationError:
            raise AddressNotVerified from None
        await self._refuse_taken(email)
        if not (self._settings.registration == "open" if creates is None else creates):
            raise AccountNotCreated
        self._registrations.check_domain(email)

        async def within(connection: AsyncConnection, user_id: UUID) -> None:
            mine = replace(actor, user_id=user_id)
            await self._insert(connection, mine, user_id, account)

        name = _username(account)
        for attempt in range(_ATTEMPTS):
            try:
                return await self._accounts.register(
                    actor,
                    email=email,
                    username=name if attempt == 0 else f"{name}-{secrets.token_hex(3)}",
                    password=None,
                    full_name=_full_name(account),
                    is_confirmed=True,
                    within=within,
                    details={"provider": account.provider},
                )
            except UsernameTaken:
                continue
        raise UsernameTaken

    async def _refuse_taken(self, email: str) -> None:
        """Raise ``EmailTaken`` for an address that belongs to an account."""
        query = select(users.c.id).where(users.c.email_key == email_key(email))
        async with self._database.read() as connection:
            if (await connection.execute(query)).first() is not None:
                raise EmailTaken

    async def _insert(
        self, connection: AsyncConnection, actor: Actor, user_id: UUID, account: ProviderAccount
    ) -> None:
        query = select(func.count()).select_from(user_identities).where(_i.user_id == user_id)
        if (await connection.execute(query)).scalar_one() >= MAX_OF_USER:
            raise IdentityTaken("This account has too many connected sign-ins.")
        await connection.execute(
            user_identities.insert().values(
                user_id=user_id,
                provider=account.provider,
                issuer=account.issuer,
                subject=account.subject,
                email=account.email or None,
            )
        )
        await record(
            connection,
            actor,
            "user.identity_connected",
            "user",
            user_id,
            provider=account.provider,
        )


def _username(account: ProviderAccount) -> str:
    """A username from the provider's, or from the address: 3 to 40 plain characters."""
    wanted = account.username.partition("@")[0] or account.email.partition("@")[0]
    plain = re.sub(r"[^\w.-]+", "-", wanted).strip("-.")[:40]
    return plain if len(plain) >= 3 else f"user-{secrets.token_hex(3)}"


def _full_name(account: ProviderAccount) -> str | None:
    try:
        return _FULL_NAME.validate_python(account.full_name) or None
    except ValidationError:
        return None

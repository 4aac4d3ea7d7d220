"""Registration by visitors: who may register, and what the gate keeps about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from aiohttp import web
from sqlalchemy import update

from zenzefi.accounts.errors import (
    AddressNotConfirmed,
    MailDomainRefused,
    PasswordSignInOff,
    RegistrationClosed,
    TermsNotAccepted,
)
from zenzefi.accounts.identity import User
from zenzefi.accounts.invitations import Invitations
from zenzefi.accounts.models import users
from zenzefi.accounts.service import Accounts
from zenzefi.audit.log import Actor, record
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.settings import Settings


@dataclass(frozen=True, slots=True)
class NewAccount:
    """A registration, its fields validated (``schemas.py``)."""

    email: str
    username: str
    password: str
    full_name: str | None = None
    invitation: str = ""
    """The secret of the invitation link."""
    terms: str | None = None
    """The version of the terms that was accepted."""


class Registrations:
    """The service of registration. The settings are read at each call: a reload changes them."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        accounts: Accounts,
        invitations: Invitations,
    ) -> None:
        self._settings = settings
        self._database = database
        self._accounts = accounts
        self._invitations = invitations

    def refuse_if_closed(self) -> None:
        """Raise ``RegistrationClosed`` if only administrators create accounts.

        Raises ``PasswordSignInOff`` if identity providers create them.
        """
        if not self._settings.password_sign_in:
            raise PasswordSignInOff
        if self._settings.registration == "closed":
            raise RegistrationClosed

    async def check_invitation(self, secret: str) -> str | None:
        """The address that a visitor with this link must use; ``None``: any.

        Raises ``RegistrationClosed``, and ``InvitationRequired`` without a valid link.
        """
        self.refuse_if_closed()
        if self._settings.registration == "open":
            return None
        return await self._invitations.address_of(secret)

    def check_domain(self, email: str) -> None:
        """Raise ``MailDomainRefused`` for an address outside of ``REGISTRATION_DOMAINS``."""
        domains = self._settings.registration_domains
        if domains and email.rpartition("@")[2].lower() not in domains:
            raise MailDomainRefused

    async def register(self, actor: Actor, account: NewAccount) -> User:
        """Create an account for a visitor.

        Raises ``RegistrationClosed``, ``InvitationRequired``, ``MailDomainRefused``,
        ``TermsNotAccepted``, ``EmailTaken`` or ``UsernameTaken``. The invitation is used up with
        the account or not at all: of two registrations with one link, one succeeds.
        """
        settings = self._settings
        await self.check_invitation(account.invitation)
        self.check_domain(account.email)
        if settings.terms_version is not None and account.terms != settings.terms_version:
            raise TermsNotAccepted

        async def within(connection: AsyncConnection, user_id: UUID) -> None:
            if settings.registration == "invitation":
                await self._invitations.spend(
                    connection, account.invitation, account.email, user_id
                )
            if settings.terms_version is not None:
                await _accept(connection, user_id, settings.terms_version)

        return await self._accounts.register(
            actor,
            email=account.email,
            username=account.username,
            password=account.password,
            full_name=account.full_name,
            within=within,
            details={} if settings.terms_version is None else {"terms": settings.terms_version},
        )

    # --- conditions of an account that exists

    def has_unconfirmed_address(self, user: User) -> bool:
        """Whether the user must confirm the address before anything else."""
        return (
            self._settings.needs_confirmed_address
            and user.email_verified_at is None
            and not user.is_superuser
        )

    def require_confirmed_address(self, user: User) -> None:
        """Raise ``AddressNotConfirmed`` if :meth:`has_unconfirmed_address`."""
        if self.has_unconfirmed_address(user):
            raise AddressNotConfirmed

    def has_new_terms(self, user: User) -> bool:
        """Whether the user has not accepted the current version of the terms."""
        version = self._settings.terms_version
        return version is not None and user.terms_version != version

    async def accept_terms(self, actor: Actor, user: User, version: str) -> None:
        """Record that the user accepts the terms. Raises ``TermsNotAccepted`` for another version
        than the current one: it was changed while the user was reading.
        """
        if version != self._settings.terms_version:
            raise TermsNotAccepted
        async with self._database.begin() as connection:
            await _accept(connection, user.id, version)
            await record(connection, actor, "user.terms_accepted", "user", user.id, terms=version)


async def _accept(connection: AsyncConnection, user_id: UUID, version: str) -> None:
    await connection.execute(
        update(users)
        .where(users.c.id == user_id)
        .values(terms_version=version, terms_accepted_at=utcnow())
    )


REGISTRATIONS: web.AppKey[Registrations] = web.AppKey("registrations", Registrations)
Registered = Callable[[web.Request, User], None]
ON_REGISTER: web.AppKey[list[Registered]] = web.AppKey("on_register", list)
"""Called after a visitor registered on a page or by the API; sends an e-mail."""

"""What administrators do for a customer: links, address, sign-ins, note, debits and free tokens.

Secrets are never shown to the administrator: a new password and the end of two-step sign-in are
up to the customer, by a link in an e-mail. Each action has its row in the audit log.
"""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from aiohttp import web
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from zenzefi.accounts.errors import EmailTaken
from zenzefi.accounts.identity import User, select_users, user_of
from zenzefi.accounts.links import Links, Purpose, end_links
from zenzefi.accounts.models import users
from zenzefi.accounts.schemas import email_key
from zenzefi.accounts.service import end_web_sessions
from zenzefi.audit.log import Actor, record
from zenzefi.billing import ledger
from zenzefi.billing.ledger import ZERO, Kind, Movement
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.errors import Conflict, NotFound, RateLimited
from zenzefi.tokens.service import Tokens
from zenzefi.tokens.sign_ins import BrowserSignIns
from zenzefi.tokens.token_records import TokenRecord, insert_token

_ACTIONS = {
    Purpose.RESET: "user.reset_link_sent",
    Purpose.SECOND_FACTOR: "user.second_factor_link_sent",
}


class TwoStepNotEnabled(Conflict):
    """A link that switches two-step sign-in off, for a user who does not use it."""

    code = "two_step_not_enabled"
    default = "This user has no two-step sign-in."


class PasswordRecentlyReset(Conflict):
    """A link that switches two-step sign-in off, shortly after a link replaced the password.

    The mailbox would be enough for both steps.
    """

    code = "password_recently_reset"
    default = (
        "A link has replaced this user's password in the last three days. Until then, no link can "
        "switch two-step sign-in off: the mailbox alone would be enough for both."
    )


class CustomerHelp:
    """The service of help for customers. Callers check that the user is an administrator.

    A deleted account is not found, except to debit a balance that was paid back.
    """

    def __init__(
        self, database: Database, links: Links, tokens: Tokens, sign_ins: BrowserSignIns
    ) -> None:
        self._database = database
        self._links = links
        self._tokens = tokens
        self._sign_ins = sign_ins

    async def user(self, user_id: UUID) -> User:
        """The user with this ID. Raises ``NotFound``."""
        async with self._database.read() as connection:
            return await _one(connection, user_id)

    async def link(self, actor: Actor, user_id: UUID, purpose: Purpose) -> tuple[User, str]:
        """The user and the secret of a new link, which the caller sends to the user's address.

        Raises ``NotFound``, ``TwoStepNotEnabled``, ``PasswordRecentlyReset``, and ``RateLimited``
        after several links.
        """
        user = await self.user(user_id)
        if purpose is Purpose.SECOND_FACTOR:
            if user.totp_enabled_at is None:
                raise TwoStepNotEnabled
            if await self._links.was_reset(user_id):
                raise PasswordRecentlyReset
        secret = await self._links.issue(user, purpose)
        if secret is None:
            raise RateLimited(3600, "This user was sent several links. Wait an hour.")
        async with self._database.begin() as connection:
            await record(connection, actor, _ACTIONS[purpose], "user", user_id)
        return user, secret

    async def correct_address(self, actor: Actor, user_id: UUID, email: str) -> User:
        """Replace the e-mail address, which is then unconfirmed; returns the user as before.

        Links that were sent to the old address become invalid. Raises ``NotFound``, ``EmailTaken``.
        """
        try:
            async with self._database.begin() as connection:
                before = await _one(connection, user_id)
                await connection.execute(
                    update(users)
                    .where(users.c.id == user_id)
                    .values(
                        email=email,
                        email_key=email_key(email),
                        email_verified_at=None,
                        updated_at=utcnow(),
                    )
                )
                await end_links(connection, user_id, *Purpose)
                await record(
                    connection,
                    actor,
                    "user.address_corrected",
                    "user",
                    user_id,
                    before=before.email,
                    email=email,
                )
        except IntegrityError:
            raise EmailTaken from None
        return before

    async def end_sign_ins(self, actor: Actor, user_id: UUID) -> None:
        """End all sign-ins: pages, bearer tokens, and browsers at the application.

        Raises ``NotFound``.
        """
        async with self._database.begin() as connection:
            await _one(connection, user_id)
            await connection.execute(
                update(users)
                .where(users.c.id == user_id)
                .values(credential_version=users.c.credential_version + 1, kept_jti=None)
            )
            await end_web_sessions(connection, user_id)
            await record(connection, actor, "user.all_sign_ins_ended", "user", user_id)
        await self._sign_ins.end_of_user(user_id)

    async def note(self, user_id: UUID) -> str:
        """The note of administrators on a user; empty if there is none."""
        query = select(users.c.note).where(users.c.id == user_id)
        async with self._database.read() as connection:
            return str((await connection.execute(query)).scalar_one_or_none() or "")

    async def set_note(self, actor: Actor, user_id: UUID, note: str) -> None:
        """Replace the note, which users never see. Raises ``NotFound``."""
        async with self._database.begin() as connection:
            await _one(connection, user_id)
            await connection.execute(
                update(users).where(users.c.id == user_id).values(note=note or None)
            )
            await record(connection, actor, "user.note_changed", "user", user_id)

    async def debit(
        self,
        connection: AsyncConnection,
        actor: Actor,
        user_id: UUID,
        *,
        amount: Decimal,
        reason: str,
    ) -> Movement:
        """Debit ``amount`` (ZNC, above zero) in the caller's transaction, with its ledger row.

        Raises ``NotFound``, ``InsufficientBalance``.
        """
        await _one(connection, user_id, also_deleted=True)
        movement = await ledger.move(
            connection, user_id, -amount, Kind.ADJUSTMENT, reason, actor_id=actor.user_id
        )
        await record(
            connection,
            actor,
            "user.debited",
            "user",
            user_id,
            amount=f"{amount:.2f}",
            reason=reason,
        )
        return movement

    async def issue_token(
        self,
        connection: AsyncConnection,
        actor: Actor,
        user_id: UUID,
        *,
        duration_hours: int,
        scope: str,
        reason: str,
    ) -> TokenRecord:
        """Give the user a token free of charge, in the caller's transaction.

        Raises ``NotFound``, ``Invalid`` (unknown scope).
        """
        await _one(connection, user_id)
        self._tokens.check_scope(scope)
        token = await insert_token(
            connection,
            self._tokens.keyring,
            user_id=user_id,
            duration_hours=duration_hours,
            scope=scope,
            cost=ZERO,
        )
        await record(
            connection,
            actor,
            "token.issued",
            "token",
            token.id,
            duration_hours=duration_hours,
            scope=scope,
            reason=reason,
        )
        return token


async def _one(connection: AsyncConnection, user_id: UUID, *, also_deleted: bool = False) -> User:
    row = (await connection.execute(select_users().where(users.c.id == user_id))).one_or_none()
    if row is None or (row.deleted_at is not None and not also_deleted):
        raise NotFound("There is no such user.")
    return user_of(row)


CUSTOMER_HELP: web.AppKey[CustomerHelp] = web.AppKey("customer_help", CustomerHelp)

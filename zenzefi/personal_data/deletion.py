"""Deletion of an account: personal data is erased, the ledger stays under a pseudonym.

Kept, because accounting law requires it or others depend on it: the rows of ledger, payments,
tokens and bundles, without a name. The balance stays what the ledger says, so the reconciliation
still holds. Rows of the audit log expire with it (``AUDIT_RETENTION_DAYS``).
"""

from __future__ import annotations

from uuid import UUID

from aiohttp import web
from sqlalchemy import delete, select, update

from zenzefi.accounts.models import (
    api_keys,
    invitations,
    one_time_links,
    recovery_codes,
    user_identities,
    users,
    web_sessions,
)
from zenzefi.accounts.passwords import NO_PASSWORD
from zenzefi.admin.service import Administration
from zenzefi.audit.log import Actor, record
from zenzefi.billing.models import orders
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.mail.models import mail_notices, muted_notices
from zenzefi.tokens.models import (
    access_tokens,
    device_claims,
    proxy_sign_ins,
    renewals,
    usage_sessions,
)
from zenzefi.tokens.sign_ins import BrowserSignIns

_PERSONAL = (
    *(one_time_links, recovery_codes, api_keys, web_sessions, proxy_sign_ins),
    *(mail_notices, muted_notices, user_identities),
)
"""Tables whose rows of the user are deleted."""


class Deletions:
    """The service that deletes accounts. Callers check who may."""

    def __init__(
        self, database: Database, administration: Administration, sign_ins: BrowserSignIns
    ) -> None:
        self._database = database
        self._administration = administration
        self._sign_ins = sign_ins

    async def delete(self, actor: Actor, user_id: UUID) -> None:
        """Delete an account, at once and on every node. A second call changes nothing.

        Access tokens end without a refund, and the balance can't be used any more. Raises
        ``NotFound``, and ``LastAdministrator`` for the last one.
        """
        # Ends tokens, sign-ins and open connections before the data is erased. If the node fails in
        # between, the account is deactivated, and the deletion can be repeated.
        await self._administration.change_user(
            actor, user_id, {"is_active": False, "is_superuser": False}
        )
        await self._sign_ins.end_of_user(user_id)
        pseudonym = f"deleted-{user_id.hex}"
        mine = access_tokens.c.user_id == user_id
        async with self._database.begin() as connection:
            done = await connection.execute(
                update(users)
                .where(users.c.id == user_id, users.c.deleted_at.is_(None))
                .values(
                    email=f"{pseudonym}@deleted.invalid",
                    email_key=f"{pseudonym}@deleted.invalid",
                    username=pseudonym,
                    username_key=pseudonym,
                    full_name=None,
                    password_hash=NO_PASSWORD,
                    credential_version=users.c.credential_version + 1,
                    kept_jti=None,
                    is_active=False,
                    is_superuser=False,
                    locale=None,
                    note=None,
                    email_verified_at=None,
                    totp_secret=None,
                    totp_last_step=None,
                    totp_enabled_at=None,
                    deleted_at=utcnow(),
                    updated_at=utcnow(),
                )
            )
            if done.rowcount != 1:
                return
            await connection.execute(
                update(access_tokens)
                .where(mine, access_tokens.c.revoked_at.is_(None))
                .values(revoked_at=utcnow(), revoked_reason="account_deleted")
            )
            await connection.execute(update(access_tokens).where(mine).values(name=None))
            # A payment that still arrives is credited; it must not buy a token.
            await connection.execute(
                update(orders)
                .where(orders.c.user_id == user_id, orders.c.status == "waiting")
                .values(status="cancelled", updated_at=utcnow())
            )
            await connection.execute(
                update(renewals)
                .where(renewals.c.user_id == user_id, renewals.c.status == "waiting")
                .values(status="stopped", reason="account_deleted", updated_at=utcnow())
            )
            await connection.execute(
                update(usage_sessions)
                .where(usage_sessions.c.user_id == user_id)
                .values(address=None, agent=None, device=None)
            )
            tokens = select(access_tokens.c.id).where(mine)
            await connection.execute(
                delete(device_claims).where(device_claims.c.token_id.in_(tokens))
            )
            for table in _PERSONAL:
                await connection.execute(delete(table).where(table.c.user_id == user_id))
            await connection.execute(
                update(invitations)
                .where(invitations.c.used_by == user_id)
                .values(email=None, email_key=None, note=None)
            )
            await record(connection, actor, "user.deleted", "user", user_id)


DELETIONS: web.AppKey[Deletions] = web.AppKey("deletions", Deletions)

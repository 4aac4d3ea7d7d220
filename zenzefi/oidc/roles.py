"""Decisions by the groups of a person at an identity provider: administrator, allowed scopes."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from uuid import UUID

from aiohttp import web
from sqlalchemy import update

from zenzefi.accounts.identity import User
from zenzefi.accounts.models import users
from zenzefi.admin.service import Administration, LastAdministrator
from zenzefi.audit.log import Actor, record
from zenzefi.db.engine import Database
from zenzefi.oidc.flow import ProviderAccount
from zenzefi.settings.sign_in import ProviderOptions

log = logging.getLogger(__name__)


class ProviderRoles:
    """Applies the groups at each sign-in."""

    def __init__(self, database: Database, administration: Administration) -> None:
        self._database = database
        self._administration = administration

    async def apply(
        self, actor: Actor, user: User, account: ProviderAccount, options: ProviderOptions
    ) -> User:
        """Update the user by the groups of this sign-in, and return the user as it is then.

        The last administrator stays one, so that the gate can be administered.
        """
        mine = replace(actor, user_id=user.id)
        if options.admin_groups:
            is_admin = not account.groups.isdisjoint(options.admin_groups)
            if is_admin != user.is_superuser:
                user = await self._set_admin(mine, user, is_admin=is_admin)
        if options.group_scopes:
            found = {
                scope for group in account.groups for scope in options.group_scopes.get(group, ())
            }
            stored = json.dumps(sorted(found))
            if stored != user.allowed_scopes:
                await self._set_scopes(mine, user.id, stored)
                user = replace(user, allowed_scopes=stored)
        return user

    async def _set_admin(self, actor: Actor, user: User, *, is_admin: bool) -> User:
        try:
            return await self._administration.change_user(
                actor, user.id, {"is_superuser": is_admin}
            )
        except LastAdministrator:
            log.warning("last administrator kept, not in the groups: user=%s", user.id)
            return user

    async def _set_scopes(self, actor: Actor, user_id: UUID, stored: str) -> None:
        async with self._database.begin() as connection:
            await connection.execute(
                update(users).where(users.c.id == user_id).values(allowed_scopes=stored)
            )
            await record(
                connection,
                actor,
                "user.allowed_scopes_changed",
                "user",
                user_id,
                allowed=json.loads(stored),
            )


PROVIDER_ROLES: web.AppKey[ProviderRoles] = web.AppKey("provider_roles", ProviderRoles)

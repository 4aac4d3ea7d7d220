"""The scopes that a user can buy: decided by groups at an identity provider (``OIDC_PROVIDERS``).

The list is stored with the user at each sign-in. It counts only while a provider has
``group_scopes``, so that the restriction ends with the setting.
"""

from __future__ import annotations

import json
from uuid import UUID

from sqlalchemy import select

from zenzefi.accounts.identity import User
from zenzefi.accounts.models import users
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.settings import Settings
from zenzefi.tokens.errors import ScopeNotAllowed


def restricts_scopes(settings: Settings) -> bool:
    """Whether a provider decides which scopes its users can buy."""
    return any(provider.group_scopes for provider in settings.oidc_providers.values())


def can_buy(settings: Settings, user: User, scope: str) -> bool:
    """Whether the user can buy tokens with this scope."""
    return not restricts_scopes(settings) or _contains(user.allowed_scopes, scope)


async def require_allowed(
    connection: AsyncConnection, settings: Settings, user_id: UUID, scope: str
) -> None:
    """Raise ``ScopeNotAllowed`` unless the user can buy tokens with this scope."""
    if not restricts_scopes(settings):
        return
    query = select(users.c.allowed_scopes).where(users.c.id == user_id)
    if not _contains((await connection.execute(query)).scalar_one_or_none(), scope):
        raise ScopeNotAllowed


def _contains(stored: str | None, scope: str) -> bool:
    return stored is None or scope in json.loads(stored)

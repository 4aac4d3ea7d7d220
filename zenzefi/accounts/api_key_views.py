"""Operations of the API for a user's own API keys. No key can call them."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from aiohttp import web

from zenzefi.accounts.api_key_schemas import ApiKeyCreated, ApiKeyOut, NewApiKey
from zenzefi.accounts.api_keys import API_KEYS
from zenzefi.accounts.errors import CodeRejected, NotSuperuser, PasswordRejected, TooManyApiKeys
from zenzefi.accounts.identity import User
from zenzefi.accounts.views import confirm_owner
from zenzefi.api.models import Listing, Page
from zenzefi.api.routing import SIGN_IN_ONLY, Routes, actor_of
from zenzefi.errors import NotFound, RateLimited

routes = Routes("Accounts")

KeyCreated = Callable[[web.Request, User], None]
ON_API_KEY: web.AppKey[list[KeyCreated]] = web.AppKey("on_api_key", list)
"""Called after a user created an API key on a page or by the API; sends an e-mail."""


@routes.get("/users/me/api-keys", permission=SIGN_IN_ONLY)
async def api_keys(request: web.Request, user: User, query: Page) -> Listing[ApiKeyOut]:
    """Your API keys, newest first, without their values."""
    found, total = await request.app[API_KEYS].listed(
        user_id=user.id, limit=query.limit, offset=query.offset
    )
    items = [ApiKeyOut.of(key) for key in found]
    return Listing[ApiKeyOut](items=items, total=total, limit=query.limit, offset=query.offset)


@routes.post(
    "/users/me/api-keys",
    status=201,
    permission=SIGN_IN_ONLY,
    errors=(PasswordRejected, CodeRejected, RateLimited, NotSuperuser, TooManyApiKeys),
)
async def create_api_key(request: web.Request, user: User, body: NewApiKey) -> ApiKeyCreated:
    """Create an API key. Its value is in this response only.

    The owner receives an e-mail. The key ends with its account's sign-ins: when the password is
    changed, or an administrator ends them all.
    """
    await confirm_owner(request, user, body.current_password, body.code)
    key, secret = await request.app[API_KEYS].create(
        actor_of(request, user),
        user,
        name=body.name,
        permissions=body.permissions,
        days=body.days,
        second_factor=user.totp_enabled_at is not None,
    )
    for notify in request.app[ON_API_KEY]:
        notify(request, user)
    return ApiKeyCreated(api_key=ApiKeyOut.of(key), key=secret)


@routes.delete("/users/me/api-keys/{key_id}", permission=SIGN_IN_ONLY, errors=(NotFound,))
async def revoke_api_key(request: web.Request, user: User, key_id: UUID) -> ApiKeyOut:
    """Revoke one of your API keys immediately, on every node."""
    key = await request.app[API_KEYS].revoke(actor_of(request, user), key_id, user_id=user.id)
    return ApiKeyOut.of(key)

"""Operations of the administration API for API keys."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from zenzefi.accounts.api_key_schemas import ApiKeyOut
from zenzefi.accounts.api_keys import API_KEYS
from zenzefi.accounts.identity import User
from zenzefi.admin.schemas import AdminPage
from zenzefi.api.models import Listing
from zenzefi.api.permissions import KeyPermission
from zenzefi.api.routing import Routes, actor_of
from zenzefi.errors import NotFound

routes = Routes("Administration")


class ApiKeyPage(AdminPage):
    """Page and filter of a list of API keys."""

    user_id: UUID | None = None
    """Only keys of this user."""


@routes.get("/admin/api-keys")
async def admin_api_keys(
    request: web.Request, admin: User, query: ApiKeyPage
) -> Listing[ApiKeyOut]:
    """API keys of all users, newest first, without their values."""
    found, total = await request.app[API_KEYS].listed(
        user_id=query.user_id, limit=query.limit, offset=query.offset
    )
    items = [ApiKeyOut.of(key) for key in found]
    return Listing[ApiKeyOut](items=items, total=total, limit=query.limit, offset=query.offset)


@routes.delete(
    "/admin/api-keys/{key_id}", permission=KeyPermission.ADMIN_ACCOUNTS, errors=(NotFound,)
)
async def admin_revoke_api_key(request: web.Request, admin: User, key_id: UUID) -> ApiKeyOut:
    """Revoke an API key of any user immediately, on every node."""
    return ApiKeyOut.of(await request.app[API_KEYS].revoke(actor_of(request, admin), key_id))

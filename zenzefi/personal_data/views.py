"""Operations of the API on personal data."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web
from pydantic import Field

from zenzefi.accounts.errors import CodeRejected, PasswordRejected
from zenzefi.accounts.identity import User
from zenzefi.accounts.schemas import Code, CurrentPassword
from zenzefi.accounts.views import confirm_owner
from zenzefi.admin.service import LastAdministrator
from zenzefi.api.models import Body, Output
from zenzefi.api.permissions import KeyPermission
from zenzefi.api.routing import SIGN_IN_ONLY, Routes, actor_of
from zenzefi.errors import NotFound, RateLimited
from zenzefi.personal_data.deletion import DELETIONS
from zenzefi.personal_data.export import EXPORTS

routes = Routes("Accounts")
admin_routes = Routes("Administration")

DOWNLOAD_HEADERS = {
    "Content-Type": "application/zip",
    "Content-Disposition": 'attachment; filename="my-data.zip"',
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


class OwnDeletion(Body):
    """The deletion of one's own account."""

    current_password: CurrentPassword
    """The current password."""
    code: Code | None = Field(None)
    """A code of the authenticator app or a recovery code, if two-step sign-in is on."""


class AccountDeleted(Output):
    """The result of a deletion."""

    deleted: bool = True
    """Always true."""


@routes.get("/users/me/data", permission=SIGN_IN_ONLY)
async def download(request: web.Request, user: User) -> web.StreamResponse:
    """Everything that is stored about you: a zip file with JSON and CSV."""
    response = web.StreamResponse(headers=DOWNLOAD_HEADERS)
    await response.prepare(request)
    async for piece in request.app[EXPORTS].download(user.id):
        await response.write(piece)
    await response.write_eof()
    return response


@routes.post(
    "/users/me/delete",
    permission=SIGN_IN_ONLY,
    errors=(PasswordRejected, CodeRejected, RateLimited, LastAdministrator),
)
async def delete_me(request: web.Request, user: User, body: OwnDeletion) -> AccountDeleted:
    """Delete your account: tokens end at once, without a refund; the ledger stays, without a name.

    This can't be undone.
    """
    await confirm_owner(request, user, body.current_password, body.code)
    await request.app[DELETIONS].delete(actor_of(request, user), user.id)
    return AccountDeleted()


@admin_routes.delete(
    "/admin/users/{user_id}",
    permission=KeyPermission.ADMIN_ACCOUNTS,
    errors=(NotFound, LastAdministrator),
)
async def delete_user(request: web.Request, admin: User, user_id: UUID) -> AccountDeleted:
    """Delete an account: tokens end at once, without a refund; the ledger stays, without a name.

    This can't be undone.
    """
    await request.app[DELETIONS].delete(actor_of(request, admin), user_id)
    return AccountDeleted()

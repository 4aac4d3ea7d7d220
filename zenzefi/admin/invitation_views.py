"""Operations of the administration API for invitations."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from zenzefi.accounts.identity import User
from zenzefi.accounts.invitations import INVITATIONS
from zenzefi.admin.invitation_schemas import (
    InvitationCreated,
    InvitationOut,
    InvitationWithdrawn,
    NewInvitation,
)
from zenzefi.admin.schemas import AdminPage
from zenzefi.api.models import Listing
from zenzefi.api.routing import Routes, actor_of
from zenzefi.errors import NotFound
from zenzefi.settings import SETTINGS

routes = Routes("Administration")


@routes.get("/admin/invitations")
async def invitations(
    request: web.Request, admin: User, query: AdminPage
) -> Listing[InvitationOut]:
    """Invitations, newest first, without their links."""
    found, total = await request.app[INVITATIONS].listed(limit=query.limit, offset=query.offset)
    items = [InvitationOut.model_validate(one, from_attributes=True) for one in found]
    return Listing[InvitationOut](items=items, total=total, limit=query.limit, offset=query.offset)


@routes.post("/admin/invitations", status=201)
async def create_invitation(
    request: web.Request, admin: User, body: NewInvitation
) -> InvitationCreated:
    """Create an invitation. The link is in this response only."""
    invitation, secret = await request.app[INVITATIONS].create(
        actor_of(request, admin), email=body.email, note=body.note, days=body.days
    )
    return InvitationCreated(
        invitation=InvitationOut.model_validate(invitation, from_attributes=True),
        link=f"{request.app[SETTINGS].public_origin}/register?invitation={secret}",
    )


@routes.delete("/admin/invitations/{invitation_id}", errors=(NotFound,))
async def withdraw_invitation(
    request: web.Request, admin: User, invitation_id: UUID
) -> InvitationWithdrawn:
    """Withdraw an open invitation: its link becomes invalid."""
    await request.app[INVITATIONS].withdraw(actor_of(request, admin), invitation_id)
    return InvitationWithdrawn()

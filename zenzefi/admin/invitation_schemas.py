"""Request and response bodies of the administration API for invitations."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from zenzefi.accounts.invitations import MAX_DAYS
from zenzefi.accounts.schemas import EmailAddress
from zenzefi.api.models import ONE_LINE, WHOLE_NUMBER, Body, Output, Time


class NewInvitation(Body):
    """A new invitation."""

    email: EmailAddress | None = None
    """The only address that can register with it; omitted: any address."""
    note: (
        Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), ONE_LINE] | None
    ) = None
    """A note for administrators."""
    days: Annotated[int, Field(ge=1, le=MAX_DAYS), WHOLE_NUMBER] = 7
    """How long the link is valid, in days."""


class InvitationOut(Output):
    """An invitation, without its link."""

    id: UUID
    """The invitation's ID."""
    email: str | None
    """The only address that can register with it, or `null`."""
    note: str | None
    """A note for administrators, or `null`."""
    created_by: UUID | None
    """The administrator who created it; `null`: the command line."""
    created_at: Time
    """When it was created."""
    expires_at: Time
    """When the link becomes invalid."""
    used_at: Time | None
    """When a user registered with it, or `null`."""
    used_by: UUID | None
    """The user who registered with it, or `null`."""
    withdrawn_at: Time | None
    """When an administrator withdrew it, or `null`."""


class InvitationCreated(Output):
    """A new invitation with its link, which is shown once."""

    invitation: InvitationOut
    """The invitation."""
    link: str
    """The address at which one visitor can register."""


class InvitationWithdrawn(Output):
    """The result of a withdrawal."""

    withdrawn: bool = True
    """Always true."""

"""Request and response bodies of the API for API keys."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from zenzefi.accounts.api_keys import MAX_DAYS, ApiKey
from zenzefi.accounts.schemas import Code, CurrentPassword
from zenzefi.api.models import ONE_LINE, WHOLE_NUMBER, Body, Output, Time
from zenzefi.api.permissions import KeyPermission


class KeyName(Body):
    """The name of a new API key."""

    name: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), ONE_LINE
    ]
    """A name by which you recognise the key."""


class KeyValues(KeyName):
    """The choices of the owner for a new API key."""

    permissions: Annotated[list[KeyPermission], Field(min_length=1, max_length=len(KeyPermission))]
    """The permissions of the key."""
    days: Annotated[int, Field(ge=1, le=MAX_DAYS), WHOLE_NUMBER] = 90
    """Number of days until the key expires."""


class NewApiKey(KeyValues):
    """A new API key; the password is required because the bearer token may be stolen."""

    current_password: CurrentPassword
    """The current password."""
    code: Code | None = None
    """A code of the authenticator app or a recovery code, if two-step sign-in is on."""


class ApiKeyOut(Output):
    """An API key, without its value."""

    id: UUID
    """The key's ID."""
    user_id: UUID
    """The ID of the user for whom it acts."""
    name: str
    """The name that its owner gave it."""
    hint: str
    """The first characters of the key."""
    permissions: list[KeyPermission]
    """The permissions of the key."""
    created_at: Time
    """When it was created."""
    expires_at: Time
    """When it expires."""
    last_used_at: Time | None
    """When it was last used, exact to a minute, or `null`."""
    last_address: str | None
    """The client address of that use, or `null`."""
    revoked_at: Time | None
    """When it was revoked, or `null`."""
    is_superseded: bool
    """Whether it ended because the password was changed or all sign-ins were ended."""

    @classmethod
    def of(cls, key: ApiKey) -> ApiKeyOut:
        """The response body for a key."""
        values = {name: getattr(key, name) for name in cls.model_fields}
        return cls.model_validate(values | {"permissions": sorted(key.permissions)})


class ApiKeyCreated(Output):
    """A new API key with its value, which is in this response only."""

    api_key: ApiKeyOut
    """The key's properties."""
    key: str
    """The key to send as `Authorization: Bearer`."""

"""What goes in and out of the calls about tokens."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from zenzefi.api.models import ONE_LINE, WHOLE_NUMBER, Body, MoneyOut, Output, Page, Query, Time
from zenzefi.settings import DURATIONS

DurationHours = Annotated[
    int, Field(ge=1, examples=[24], json_schema_extra={"enum": list(DURATIONS)}), WHOLE_NUMBER
]
"""One of the durations on sale. Others above zero are refused with 400, by contract."""
TokenName = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100), ONE_LINE]


class Purchase(Body):
    """One token to buy."""

    duration_hours: DurationHours
    """How long the token lasts from its first use, in hours."""
    scope: Annotated[str, Field(max_length=50)] = "full"
    """Which paths the token opens."""
    name: TokenName | None = None
    """A name of your own for the token."""


class TokenOut(Output):
    """An access token, as its owner sees it."""

    id: UUID
    """The token's identifier."""
    token_id: UUID
    """The same as `id`."""
    token: str | None
    """The token's value, 64 URL-safe characters; `null` when it can't be decrypted any more."""
    name: str | None
    """A name given by the owner, or `null`."""
    duration_hours: int
    """How long it lasts from its first use, in hours."""
    scope: str
    """The name of the scope: which paths the token opens."""
    cost_znc: MoneyOut
    """What was paid for it, in ZNC."""
    created_at: Time
    """When it was bought."""
    activated_at: Time | None
    """When the first proxied request started its time; `null` while it is unused."""
    expires_at: Time | None
    """`activated_at` plus `duration_hours`; `null` while it is unused."""
    revoked_at: Time | None
    """When it was revoked, or `null`."""
    is_active: bool
    """Whether it still works: neither revoked nor expired."""


class TokenList(Query):
    """Which of the user's tokens."""

    active_only: bool = True
    """Leave out tokens that are revoked or expired."""
    limit: int = Field(1000, ge=1, le=1000)
    """The most items to return."""
    offset: int = Field(0, ge=0, le=2**31 - 1)
    """How many items to skip."""


class Revocation(Output):
    """The revocation of a token and its refund."""

    revoked: bool
    """Whether the token is revoked now."""
    refund_amount: MoneyOut
    """What was given back, in ZNC."""
    new_balance: MoneyOut
    """The balance afterwards, in ZNC."""
    message: str
    """A sentence for people."""


class SessionOut(Output):
    """One session of use."""

    id: UUID
    """The session's identifier."""
    token_id: UUID
    """The access token's identifier."""
    user_id: UUID
    """The user's identifier."""
    device: str | None
    """The device identifier the client sent, or `null`."""
    address: str | None
    """The client's address, or `null`."""
    agent: str | None
    """The client's User-Agent, or `null`."""
    started_at: Time
    """When the session began."""
    last_seen_at: Time
    """When the last request was counted."""
    ended_at: Time | None
    """When the session ended, or `null`."""
    end_reason: str | None
    """Why it ended, or `null`."""
    requests: int
    """How many requests were made."""
    bytes_in: int
    """Bytes received from the client."""
    bytes_out: int
    """Bytes sent to the client."""


class SessionPage(Page):
    """Which sessions."""

    active_only: bool = False
    """Leave out sessions that have ended."""


class SessionEnded(Output):
    """The session is over."""

    ended: bool = True
    """Always true."""


class Released(Output):
    """The device binding is forgotten."""

    released: bool
    """Whether a device had held the token."""
    message: str
    """A sentence for people."""

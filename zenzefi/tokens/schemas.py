"""Request and response bodies of the token endpoints."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from zenzefi.api.models import ONE_LINE, WHOLE_NUMBER, Body, MoneyOut, Output, Page, Query, Time
from zenzefi.settings import DURATIONS

DurationHours = Annotated[int, Field(ge=1, examples=list(DURATIONS)), WHOLE_NUMBER]
"""One of the durations on sale. By contract others above zero are refused with 400, not 422."""
TokenName = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100), ONE_LINE]


class Purchase(Body):
    """One token to buy."""

    duration_hours: DurationHours
    """How long the token lasts from its first use, in hours."""
    scope: Annotated[str, Field(max_length=50)] = "full"
    """The scope of the token: the paths that it permits."""
    name: TokenName | None = None
    """A name for the token, shown in lists."""
    promo_code: Annotated[str, Field(max_length=40)] | None = None
    """A promo code, which lowers the price."""


class TokenOut(Output):
    """An access token, as its owner sees it."""

    id: UUID
    """The token's identifier."""
    token_id: UUID
    """The same as `id`."""
    token: str | None
    """The token, 64 URL-safe characters; `null` when it can no longer be decrypted."""
    name: str | None
    """A name given by the owner, or `null`."""
    duration_hours: int
    """How long it lasts from its first use, in hours."""
    scope: str
    """The name of the scope: the paths that the token permits."""
    cost_znc: MoneyOut
    """The price paid, in ZNC."""
    created_at: Time
    """When it was bought."""
    activated_at: Time | None
    """When the token was first used, which starts its time; `null` while it is unused."""
    expires_at: Time | None
    """`activated_at` plus `duration_hours`; `null` while it is unused."""
    revoked_at: Time | None
    """When it was revoked, or `null`."""
    is_active: bool
    """Whether it still works: neither revoked nor expired."""


class TokenList(Query):
    """The tokens to list."""

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
    """The amount refunded, in ZNC."""
    new_balance: MoneyOut
    """The balance afterwards, in ZNC."""
    message: str
    """The result as a sentence."""


class SessionOut(Output):
    """One session: the requests of one client with one token."""

    id: UUID
    """The session's identifier."""
    token_id: UUID
    """The access token's identifier."""
    user_id: UUID
    """The user's identifier."""
    device: str | None
    """A short name of the device, or `null` if the client sent no device ID."""
    address: str | None
    """The client's address, or `null`."""
    agent: str | None
    """The client's User-Agent, or `null`."""
    started_at: Time
    """When the session began."""
    last_seen_at: Time
    """When the last request of the session was made."""
    ended_at: Time | None
    """When the session ended, or `null`."""
    end_reason: str | None
    """Why it ended, or `null`."""
    requests: int
    """The number of requests."""
    bytes_in: int
    """Bytes received from the client."""
    bytes_out: int
    """Bytes sent to the client."""


class SessionPage(Page):
    """The sessions to list."""

    active_only: bool = False
    """Leave out sessions that have ended."""


class UsageQuery(Query):
    """The time of the usage to report."""

    hours: int = Field(168, ge=1, le=2160)
    """Sessions that were seen in the last so many hours."""


class TokenUsageOut(Output):
    """The totals of one token's sessions."""

    token_id: UUID
    """The access token's identifier."""
    prefix: str
    """The first characters of its value."""
    name: str | None
    """The name that the owner gave it, or `null`."""
    last_seen_at: Time
    """When its last request was made."""
    requests: int
    """The number of requests."""
    bytes_in: int
    """Bytes received from clients."""
    bytes_out: int
    """Bytes sent to clients."""


class SessionEnded(Output):
    """The result of ending a session."""

    ended: bool = True
    """Always true."""


class Released(Output):
    """The result of releasing a device."""

    released: bool
    """Whether the token is free for another device; always true."""
    message: str
    """The result as a sentence."""

"""What goes in and out of the calls about tokens."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from zenzefi.api.models import ONE_LINE, Body, MoneyOut, Output, Page, Query, Time, WholeNumber

TokenName = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100), ONE_LINE]


class Purchase(Body):
    """One token to buy."""

    duration_hours: Annotated[WholeNumber, Field(ge=1, examples=[24])]
    scope: Annotated[str, Field(max_length=50)] = "full"
    name: TokenName | None = None


class TokenOut(Output):
    """An access token, as its owner sees it."""

    id: UUID
    token_id: UUID
    token: str | None
    name: str | None
    duration_hours: int
    scope: str
    cost_znc: MoneyOut
    created_at: Time
    activated_at: Time | None
    expires_at: Time | None
    revoked_at: Time | None
    is_active: bool


class TokenList(Query):
    """Which of the user's tokens."""

    active_only: bool = True
    limit: int = Field(1000, ge=1, le=1000)
    offset: int = Field(0, ge=0, le=2**31 - 1)


class Revocation(Output):
    """What became of a revoked token's price."""

    revoked: bool
    refund_amount: MoneyOut
    new_balance: MoneyOut
    message: str


class SessionOut(Output):
    """One session of use."""

    id: UUID
    token_id: UUID
    user_id: UUID
    device: str | None
    address: str | None
    agent: str | None
    started_at: Time
    last_seen_at: Time
    ended_at: Time | None
    end_reason: str | None
    requests: int
    bytes_in: int
    bytes_out: int


class SessionPage(Page):
    """Which sessions."""

    active_only: bool = False


class SessionEnded(Output):
    """The session is over."""

    ended: bool = True


class Released(Output):
    """The device binding is forgotten."""

    released: bool
    message: str

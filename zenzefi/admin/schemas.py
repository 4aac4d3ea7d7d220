"""What goes in and out of the calls of administrators."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, StringConstraints

from zenzefi.api.models import (
    ONE_LINE,
    Amount,
    Body,
    MoneyOut,
    Output,
    Page,
    Price,
    Time,
    WholeNumber,
)
from zenzefi.billing.ledger import Kind
from zenzefi.billing.store import Status

Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), ONE_LINE
]
_Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), ONE_LINE
]


class AdminPage(Page):
    """Which part of a list; administrators may see more at once."""

    limit: int = Field(50, ge=1, le=500)


class UserPage(AdminPage):
    """Which users. ``search`` is looked for in address, name and full name."""

    search: Annotated[str, StringConstraints(max_length=100)] | None = None
    is_active: bool | None = None


class UserChange(Body):
    """What an administrator may change; what is left out stays."""

    is_active: bool = Field(default_factory=bool, strict=True)
    is_superuser: bool = Field(default_factory=bool, strict=True)


class Credit(Body):
    """Money put on an account, and why."""

    amount: Amount
    reason: Reason
    transaction_type: Kind = Kind.DEPOSIT


class Credited(Output):
    """The ledger row of a credit."""

    transaction_id: UUID
    user_id: UUID
    amount: MoneyOut
    new_balance: MoneyOut
    transaction_type: Kind
    description: str


class AdminTokenPage(AdminPage):
    """Which tokens."""

    user_id: UUID | None = None
    active_only: bool = False


class AdminToken(Output):
    """A token as administrators see it: never its whole value."""

    id: UUID
    token_prefix: str
    user_id: UUID
    username: str
    name: str | None
    duration_hours: int
    scope: str
    cost_znc: MoneyOut
    refunded_znc: MoneyOut
    created_at: Time
    activated_at: Time | None
    expires_at: Time | None
    revoked_at: Time | None
    is_active: bool


class AdminSessionPage(AdminPage):
    """Which sessions."""

    active_only: bool = False
    user_id: UUID | None = None


class Revoked(Output):
    """The token is revoked, without a refund."""

    revoked: bool = True
    message: str


class AuditPage(AdminPage):
    """Which rows of the audit log."""

    user_id: UUID | None = None
    action: Annotated[str, StringConstraints(max_length=50)] | None = None
    resource_type: Annotated[str, StringConstraints(max_length=30)] | None = None


class AuditOut(Output):
    """One row of the audit log."""

    id: UUID
    created_at: Time
    user_id: UUID | None
    action: str
    resource_type: str
    resource_id: str | None
    address: str | None
    request_id: str | None
    details: dict[str, Any]


class NewBundle(Body):
    """A bundle to put on sale."""

    name: _Name
    description: Annotated[
        str, StringConstraints(strip_whitespace=True, max_length=500), ONE_LINE
    ] = ""
    duration_hours: Annotated[WholeNumber, Field(ge=1)]
    token_count: Annotated[WholeNumber, Field(ge=1, le=100)]
    scope: Annotated[str, Field(max_length=50)] = "full"
    price_znc: Price


class BundleChange(Body):
    """What may change for later buyers."""

    name: _Name = Field(default_factory=str)
    description: Annotated[
        str, StringConstraints(strip_whitespace=True, max_length=500), ONE_LINE
    ] = Field(default_factory=str)
    price_znc: Price = Field(default_factory=Decimal)
    is_active: bool = Field(default_factory=bool, strict=True)


class AdminPaymentPage(AdminPage):
    """Which payments."""

    user_id: UUID | None = None
    status: Status | None = None


class AdminPayment(Output):
    """A payment as administrators see it."""

    payment_id: UUID
    user_id: UUID
    provider: str
    reference: str | None
    charge: str | None
    amount_znc: MoneyOut
    amount_rub: MoneyOut
    reversed_znc: MoneyOut
    shortfall_znc: MoneyOut
    status: Status
    created_at: Time
    updated_at: Time
    credited_at: Time | None

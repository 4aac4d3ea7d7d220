"""What goes in and out of the calls of administrators."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, StringConstraints

from zenzefi.api.models import (
    ONE_LINE,
    WHOLE_NUMBER,
    Amount,
    Body,
    MoneyOut,
    Output,
    Page,
    Price,
    Time,
)
from zenzefi.billing.ledger import Kind
from zenzefi.billing.repository import PaymentStatus
from zenzefi.tokens.schemas import DurationHours

Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), ONE_LINE
]
_Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), ONE_LINE
]


class AdminPage(Page):
    """Which part of a list; administrators may see more at once."""

    limit: int = Field(50, ge=1, le=500)
    """The most items to return."""


class UserPage(AdminPage):
    """Which users. ``search`` is looked for in address, name and full name."""

    search: Annotated[str, StringConstraints(max_length=100)] | None = None
    """Text to look for in e-mail address, username and full name."""
    is_active: bool | None = None
    """Only users who may (`true`) or may not (`false`) sign in."""


class UserChange(Body):
    """What an administrator may change; what is left out stays."""

    is_active: bool = Field(default_factory=bool, strict=True)
    """Whether the user may sign in."""
    is_superuser: bool = Field(default_factory=bool, strict=True)
    """Whether the user is an administrator."""


class Credit(Body):
    """Money put on an account, and why."""

    amount: Amount
    """How much to credit, in ZNC."""
    reason: Reason
    """Why; kept in the ledger and in the audit log."""
    transaction_type: Kind = Kind.DEPOSIT
    """The kind of ledger row."""


class Credited(Output):
    """The ledger row of a credit."""

    transaction_id: UUID
    """The ledger row's identifier."""
    user_id: UUID
    """The user's identifier."""
    amount: MoneyOut
    """What was credited, in ZNC."""
    new_balance: MoneyOut
    """The balance afterwards, in ZNC."""
    transaction_type: Kind
    """The kind of ledger row."""
    description: str
    """The reason, as the ledger keeps it."""


class AdminTokenPage(AdminPage):
    """Which tokens."""

    user_id: UUID | None = None
    """Only tokens of this user."""
    active_only: bool = False
    """Leave out tokens that are revoked or expired."""


class AdminToken(Output):
    """A token as administrators see it: never its whole value."""

    id: UUID
    """The token's identifier."""
    token_prefix: str
    """The first characters of the token's value."""
    user_id: UUID
    """The owner's identifier."""
    username: str
    """The owner's name."""
    name: str | None
    """A name given by the owner, or `null`."""
    duration_hours: int
    """How long it lasts from its first use, in hours."""
    scope: str
    """The name of the scope: which paths the token opens."""
    cost_znc: MoneyOut
    """What was paid for it, in ZNC."""
    refunded_znc: MoneyOut
    """What was given back when it was revoked, in ZNC."""
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


class AdminSessionPage(AdminPage):
    """Which sessions."""

    active_only: bool = False
    """Leave out sessions that have ended."""
    user_id: UUID | None = None
    """Only sessions of this user."""


class Revoked(Output):
    """The token is revoked, without a refund."""

    revoked: bool = True
    """Always true."""
    message: str
    """A sentence for people."""


class AuditPage(AdminPage):
    """Which rows of the audit log."""

    user_id: UUID | None = None
    """Only what this user did."""
    action: Annotated[str, StringConstraints(max_length=50)] | None = None
    """Only this action, like `token.revoked`."""
    resource_type: Annotated[str, StringConstraints(max_length=30)] | None = None
    """Only this kind of resource, like `token`."""


class AuditOut(Output):
    """One row of the audit log."""

    id: UUID
    """The row's identifier."""
    created_at: Time
    """When it happened."""
    user_id: UUID | None
    """Who did it; `null` for a visitor or the program."""
    action: str
    """What was done, like `token.revoked`."""
    resource_type: str
    """What it was done to, like `token`."""
    resource_id: str | None
    """The identifier of what it was done to, or `null`."""
    address: str | None
    """The client's address, or `null`."""
    ip_address: str | None
    """The same as `address`."""
    user_agent: str | None
    """The client's `User-Agent` header, cut at 300 characters, or `null`."""
    request_id: str | None
    """The identifier of the request, as the log has it, or `null`."""
    details: dict[str, Any]
    """What belongs to this action, by name."""


class NewBundle(Body):
    """A bundle to put on sale."""

    name: _Name
    """The bundle's name."""
    description: Annotated[
        str, StringConstraints(strip_whitespace=True, max_length=500), ONE_LINE
    ] = ""
    """What the bundle is for."""
    duration_hours: DurationHours
    """How long each token lasts from its first use, in hours."""
    token_count: Annotated[int, Field(ge=1, le=100), WHOLE_NUMBER]
    """How many tokens the bundle holds."""
    scope: Annotated[str, Field(max_length=50)] = "full"
    """Which paths each token opens."""
    price_znc: Price
    """The price in ZNC."""


class BundleChange(Body):
    """What may change for later buyers."""

    name: _Name = Field(default_factory=str)
    """The bundle's name."""
    description: Annotated[
        str, StringConstraints(strip_whitespace=True, max_length=500), ONE_LINE
    ] = Field(default_factory=str)
    """What the bundle is for."""
    price_znc: Price = Field(default_factory=Decimal)
    """The price in ZNC."""
    is_active: bool = Field(default_factory=bool, strict=True)
    """Whether the bundle is on sale."""


class AdminPaymentPage(AdminPage):
    """Which payments."""

    user_id: UUID | None = None
    """Only payments of this user."""
    status: PaymentStatus | None = None
    """Only payments with this status."""


class AdminPayment(Output):
    """A payment as administrators see it."""

    payment_id: UUID
    """The payment's identifier."""
    user_id: UUID
    """The user's identifier."""
    provider: str
    """The name of the payment provider."""
    reference: str | None
    """The checkout's identifier at the provider, or `null`."""
    charge: str | None
    """The charge's identifier at the provider, or `null`."""
    amount_znc: MoneyOut
    """The amount in ZNC."""
    amount_rub: MoneyOut
    """The same amount in roubles, at the rate of the day the payment was opened."""
    reversed_znc: MoneyOut
    """How much of it was taken back by refunds and disputes, in ZNC."""
    shortfall_znc: MoneyOut
    """How much of what was taken back had been spent and is still owed, in ZNC."""
    status: PaymentStatus
    """Where the payment stands."""
    created_at: Time
    """When it was created."""
    updated_at: Time
    """When it last changed."""
    credited_at: Time | None
    """When the balance was credited, or `null`."""

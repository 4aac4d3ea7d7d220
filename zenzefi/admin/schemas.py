"""Request and response bodies of the administration API."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from zenzefi.api.models import (
    ONE_LINE,
    WHOLE_NUMBER,
    Amount,
    Body,
    Listing,
    MoneyOut,
    Output,
    Page,
    Price,
    Time,
)
from zenzefi.billing.ledger import Kind
from zenzefi.billing.payment_search import PaymentTotal
from zenzefi.billing.repository import PaymentStatus
from zenzefi.tokens.schemas import DurationHours, SessionOut

Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), ONE_LINE
]
_Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), ONE_LINE
]


class AdminPage(Page):
    """Page of a list, with a greater limit than for users."""

    limit: int = Field(50, ge=1, le=500)
    """Maximum number of items to return."""


class UserPage(AdminPage):
    """Page and filter of a list of users."""

    search: Annotated[str, StringConstraints(max_length=100)] | None = None
    """Text to search for in e-mail address, username and full name."""
    is_active: bool | None = None
    """Only users who may (`true`) or may not (`false`) sign in."""


class UserChange(Body):
    """Changes of a user; omitted fields stay unchanged."""

    is_active: bool = Field(default_factory=bool, strict=True)
    """Whether the user may sign in."""
    is_superuser: bool = Field(default_factory=bool, strict=True)
    """Whether the user is an administrator."""


class Credit(Body):
    """A credit."""

    amount: Amount
    """The amount to credit, in ZNC."""
    reason: Reason
    """The reason, recorded in the ledger and in the audit log."""
    transaction_type: Kind = Kind.DEPOSIT
    """The kind of ledger row."""


class Credited(Output):
    """The ledger row of a credit."""

    transaction_id: UUID
    """The transaction's ID."""
    user_id: UUID
    """The user's ID."""
    amount: MoneyOut
    """The amount credited, in ZNC."""
    new_balance: MoneyOut
    """The new balance, in ZNC."""
    transaction_type: Kind
    """The kind of ledger row."""
    description: str
    """The reason, as recorded in the ledger."""


class AdminTokenPage(AdminPage):
    """Page and filter of a list of tokens."""

    user_id: UUID | None = None
    """Only tokens of this user."""
    active_only: bool = False
    """Only tokens that are neither revoked nor expired."""


class AdminToken(Output):
    """An access token, without its value."""

    id: UUID
    """The token's ID."""
    token_prefix: str
    """The first characters of the token's value."""
    user_id: UUID
    """The owner's ID."""
    username: str
    """The owner's username."""
    name: str | None
    """The name that the owner gave it, or `null`."""
    duration_hours: int
    """Validity from the first use, in hours."""
    scope: str
    """The scope: the paths and methods that the token covers."""
    cost_znc: MoneyOut
    """The price paid, in ZNC."""
    refunded_znc: MoneyOut
    """The refund at revocation, in ZNC."""
    created_at: Time
    """When the token was bought."""
    activated_at: Time | None
    """Time of the first proxied request; `null` while unused."""
    expires_at: Time | None
    """`activated_at` plus `duration_hours`; `null` while unused."""
    revoked_at: Time | None
    """When the token was revoked, or `null`."""
    is_active: bool
    """Whether the token is neither revoked nor expired."""


class AdminSessionPage(AdminPage):
    """Page and filter of a list of sessions."""

    active_only: bool = False
    """Only sessions that have not ended."""
    user_id: UUID | None = None
    """Only sessions of this user."""


class TokenRevocation(Output):
    """The result of a revocation."""

    revoked: bool = True
    """Always true."""
    message: str
    """A message for users."""


class AuditPage(AdminPage):
    """Page and filter of the audit log."""

    user_id: UUID | None = None
    """Only actions of this user."""
    action: Annotated[str, StringConstraints(max_length=50)] | None = None
    """Only this action, such as `token.revoked`."""
    resource_type: Annotated[str, StringConstraints(max_length=30)] | None = None
    """Only this type of resource, such as `token`."""


class AuditOut(Output):
    """One row of the audit log."""

    id: UUID
    """The ID of the row."""
    created_at: Time
    """Time of the action."""
    user_id: UUID | None
    """The user who acted; `null` for visitors and the gate itself."""
    action: str
    """The action, such as `token.revoked`."""
    resource_type: str
    """The type of the resource, such as `token`."""
    resource_id: str | None
    """The ID of the resource, or `null`."""
    address: str | None
    """The client's IP address, or `null`."""
    ip_address: str | None
    """The same as `address`."""
    user_agent: str | None
    """The first 300 characters of the `User-Agent` header, or `null`."""
    request_id: str | None
    """The request ID, as in the log, or `null`."""
    details: dict[str, Any]
    """Details of the action, by name."""


class NewBundle(Body):
    """A new bundle."""

    name: _Name
    """The bundle's name."""
    description: Annotated[
        str, StringConstraints(strip_whitespace=True, max_length=500), ONE_LINE
    ] = ""
    """The description that buyers see."""
    duration_hours: DurationHours
    """Validity of each token from its first use, in hours."""
    token_count: Annotated[int, Field(ge=1, le=100), WHOLE_NUMBER]
    """Number of tokens in the bundle."""
    scope: Annotated[str, Field(max_length=50)] = "full"
    """The scope of the tokens."""
    price_znc: Price
    """The price in ZNC."""


class BundleChange(Body):
    """Changes of a bundle, for later buyers; omitted fields stay unchanged."""

    name: _Name = Field(default_factory=str)
    """The bundle's name."""
    description: Annotated[
        str, StringConstraints(strip_whitespace=True, max_length=500), ONE_LINE
    ] = Field(default_factory=str)
    """The description that buyers see."""
    price_znc: Price = Field(default_factory=Decimal)
    """The price in ZNC."""
    is_active: bool = Field(default_factory=bool, strict=True)
    """Whether the bundle is on sale."""


class AdminPaymentPage(AdminPage):
    """Page and filter of a list of payments."""

    user_id: UUID | None = None
    """Only payments of this user."""
    status: PaymentStatus | None = None
    """Only payments with this status."""
    number: Annotated[str, StringConstraints(strip_whitespace=True, max_length=255)] | None = None
    """Only payments with this ID, the beginning of an ID (four digits or more), or an ID of the
    provider."""
    since: date | None = Field(None, ge=date(2000, 1, 1), lt=date(9000, 1, 1))
    """Only payments that were opened on this day (UTC) or later."""
    until: date | None = Field(None, ge=date(2000, 1, 1), lt=date(9000, 1, 1))
    """Only payments that were opened on this day (UTC) or earlier."""


class AdminPayment(Output):
    """A payment with the IDs of its provider."""

    payment_id: UUID
    """The payment's ID."""
    user_id: UUID
    """The user's ID."""
    provider: str
    """The name of the payment provider."""
    reference: str | None
    """The provider's ID of the checkout, or `null`."""
    charge: str | None
    """The provider's ID of the charge, or `null`."""
    amount_znc: MoneyOut
    """The amount in ZNC."""
    amount_rub: MoneyOut
    """The price in `currency`, at the rate of the time when the payment was opened."""
    currency: str
    """The currency that the buyer pays in (ISO 4217)."""
    reversed_znc: MoneyOut
    """Amount reversed by refunds and disputes, in ZNC."""
    shortfall_znc: MoneyOut
    """Part of the reversed amount that was spent already and is still owed, in ZNC."""
    status: PaymentStatus
    """The status of the payment."""
    created_at: Time
    """When the payment was opened."""
    updated_at: Time
    """When the payment was last changed."""
    credited_at: Time | None
    """When the balance was credited, or `null`."""


class PaymentTotalOut(Output):
    """All payments of one currency that match the filter, on all pages."""

    currency: str
    """The currency (ISO 4217)."""
    payments: int
    """Number of payments."""
    arrived: int
    """Number of those that were credited."""
    received: MoneyOut
    """Money of those that were credited, in `currency`."""
    credited: MoneyOut
    """The same in ZNC."""
    returned: MoneyOut
    """The part that was refunded or disputed, in ZNC."""

    @classmethod
    def of(cls, total: PaymentTotal) -> PaymentTotalOut:
        """The response for this total."""
        return cls(
            currency=total.currency,
            payments=total.payments,
            arrived=total.arrived,
            received=total.received,
            credited=total.credited,
            returned=total.returned,
        )


class AdminPaymentListing(Listing[AdminPayment]):
    """A page of payments, with totals."""

    model_config = ConfigDict(
        json_schema_extra={"description": "A page of payments, with the totals of all pages."}
    )

    totals: list[PaymentTotalOut]
    """Totals by currency."""


class AdminSession(SessionOut):
    """A session with the names of its user and token."""

    username: str | None
    """The user's name."""
    token_prefix: str | None
    """The first characters of the token's value."""

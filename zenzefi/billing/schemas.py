"""What goes in and out of the calls about money."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from zenzefi.api.models import ONE_LINE, Amount, Body, MoneyOut, Output, Page, Time
from zenzefi.billing.ledger import Kind
from zenzefi.billing.repository import PaymentStatus


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.username is not None or "\\" in value or " " in value:
        raise ValueError("must be an absolute http or https address, like https://gate.example/")
    return value


ReturnUrl = Annotated[str, StringConstraints(max_length=2000), ONE_LINE, AfterValidator(_http_url)]


class BalanceOut(Output):
    """The money on an account."""

    balance: MoneyOut
    """The balance in ZNC."""
    currency: Literal["ZNC"] = "ZNC"
    """Always `ZNC`."""


class TransactionOut(Output):
    """One row of the ledger. ``amount`` is signed."""

    id: UUID
    """The ledger row's identifier."""
    amount: MoneyOut
    """The signed amount in ZNC."""
    balance_after: MoneyOut
    """The balance after this row, in ZNC."""
    transaction_type: Kind
    """The kind of ledger row."""
    description: str
    """What it was for."""
    payment_id: UUID | None
    """The payment behind it, or `null`."""
    created_at: Time
    """When it was booked."""


class TransactionPage(Page):
    """Which transactions."""

    # "transaction_type=" (empty) means all, as clients send it.
    transaction_type: Annotated[
        Kind | None, BeforeValidator(lambda value: value or None, json_schema_input_type=Kind)
    ] = None
    """Only rows of this kind."""


class TopUp(Body):
    """A top-up to start."""

    amount_znc: Amount
    """How much to top up, in ZNC."""
    return_url: ReturnUrl | None = None
    """Where the payment page sends the buyer back to."""
    provider: Annotated[str, StringConstraints(max_length=30), ONE_LINE] | None = None
    """The payment provider; the first configured one if left out."""


class PaymentCreated(Output):
    """Where to pay."""

    payment_id: UUID
    """The payment's identifier."""
    payment_url: str | None
    """Where to pay, or `null` where there is no such page."""
    amount_znc: MoneyOut
    """The amount in ZNC."""
    amount_rub: MoneyOut
    """The same amount in roubles, at the rate of the day the payment was opened."""
    status: PaymentStatus
    """Where the payment stands."""


class PaymentOut(Output):
    """A payment and where it stands."""

    payment_id: UUID
    """The payment's identifier."""
    provider: str
    """The name of the payment provider."""
    payment_url: str | None
    """Where to pay, or `null` where there is no such page."""
    amount_znc: MoneyOut
    """The amount in ZNC."""
    amount_rub: MoneyOut
    """The same amount in roubles, at the rate of the day the payment was opened."""
    reversed_znc: MoneyOut
    """How much of it was taken back by refunds and disputes, in ZNC."""
    owed_znc: MoneyOut = Field(
        description="Of what was reversed: spent before, and taken from what comes in next."
    )
    status: PaymentStatus
    """Where the payment stands."""
    created_at: Time
    """When it was created."""
    updated_at: Time
    """When it last changed."""
    expires_at: Time | None
    """When the payment page closes, or `null`."""
    credited_at: Time | None
    """When the balance was credited, or `null`."""


class PaymentPage(Page):
    """Which payments."""

    status: Annotated[
        PaymentStatus | None,
        BeforeValidator(lambda value: value or None, json_schema_input_type=PaymentStatus),
    ] = None
    """Only payments with this status."""


class MockTopUp(Body):
    """A credit without a payment (development only)."""

    amount: Amount
    """How much to credit, in ZNC."""


class MockTopUpOut(Output):
    """The credit that was made."""

    payment_id: UUID
    """The payment's identifier."""
    amount: MoneyOut
    """What was credited, in ZNC."""
    new_balance: MoneyOut
    """The balance afterwards, in ZNC."""
    status: Literal["succeeded"] = "succeeded"
    """Always `succeeded`."""


class WebhookOut(Output):
    """The webhook was taken."""

    received: bool = True
    """Always true."""
    outcome: str
    """What the event changed."""

"""Request and response bodies of the billing API."""

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
    """The balance of an account."""

    balance: MoneyOut
    """The balance in ZNC."""
    currency: Literal["ZNC"] = "ZNC"
    """Always `ZNC`."""


class TransactionOut(Output):
    """One row of the ledger. ``amount`` is signed."""

    id: UUID
    """The transaction's ID."""
    amount: MoneyOut
    """The signed amount in ZNC."""
    balance_after: MoneyOut
    """The balance after this row, in ZNC."""
    transaction_type: Kind
    """The kind of ledger row."""
    description: str
    """The reason of the transaction, in English."""
    payment_id: UUID | None
    """The payment's ID, or `null`."""
    created_at: Time
    """When the transaction was made."""


class TransactionPage(Page):
    """Page and filter of a list of transactions."""

    # "transaction_type=" (empty) means all, as clients send it.
    transaction_type: Annotated[
        Kind | None, BeforeValidator(lambda value: value or None, json_schema_input_type=Kind)
    ] = None
    """Only rows of this kind."""


class TopUp(Body):
    """A top-up."""

    amount_znc: Amount
    """The amount to top up, in ZNC."""
    return_url: ReturnUrl | None = None
    """URL to which the payment page returns the buyer."""
    provider: Annotated[str, StringConstraints(max_length=30), ONE_LINE] | None = None
    """The payment provider; default: the first one configured."""


class PaymentCreated(Output):
    """A payment that was opened."""

    payment_id: UUID
    """The payment's ID."""
    payment_url: str | None
    """URL of the payment page, or `null`."""
    amount_znc: MoneyOut
    """The amount in ZNC."""
    amount_rub: MoneyOut
    """The price in `currency`, at the rate of the time when the payment was opened."""
    currency: str
    """The currency that the buyer pays in (ISO 4217)."""
    status: PaymentStatus
    """The status of the payment."""


class PaymentOut(Output):
    """A payment and its status."""

    payment_id: UUID
    """The payment's ID."""
    provider: str
    """The name of the payment provider."""
    payment_url: str | None
    """URL of the payment page, or `null`."""
    amount_znc: MoneyOut
    """The amount in ZNC."""
    amount_rub: MoneyOut
    """The price in `currency`, at the rate of the time when the payment was opened."""
    currency: str
    """The currency that the buyer pays in (ISO 4217)."""
    reversed_znc: MoneyOut
    """Amount reversed by refunds and disputes, in ZNC."""
    owed_znc: MoneyOut = Field(
        description="Part of the reversed amount that was spent already; taken from later deposits."
    )
    status: PaymentStatus
    """The status of the payment."""
    created_at: Time
    """When the payment was opened."""
    updated_at: Time
    """When it last changed."""
    expires_at: Time | None
    """When the payment page closes, or `null`."""
    credited_at: Time | None
    """When the balance was credited, or `null`."""


class PaymentPage(Page):
    """Page and filter of a list of payments."""

    status: Annotated[
        PaymentStatus | None,
        BeforeValidator(lambda value: value or None, json_schema_input_type=PaymentStatus),
    ] = None
    """Only payments with this status."""


class MockTopUp(Body):
    """A credit without a payment (development only)."""

    amount: Amount
    """The amount to credit, in ZNC."""


class MockTopUpOut(Output):
    """The payment that was credited."""

    payment_id: UUID
    """The payment's ID."""
    amount: MoneyOut
    """The amount credited, in ZNC."""
    new_balance: MoneyOut
    """The new balance, in ZNC."""
    status: Literal["succeeded"] = "succeeded"
    """Always `succeeded`."""


class WebhookOut(Output):
    """The result of a webhook."""

    received: bool = True
    """Always true."""
    outcome: str
    """The effect of the event, in English, for the provider's log."""

"""What goes in and out of the calls about money."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from zenzefi.api.models import ONE_LINE, Amount, Body, MoneyOut, Output, Page, Time
from zenzefi.billing.ledger import Kind
from zenzefi.billing.store import Status
from zenzefi.tokens.schemas import TokenOut


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
    currency: Literal["ZNC"] = "ZNC"


class TransactionOut(Output):
    """One row of the ledger. ``amount`` is signed."""

    id: UUID
    amount: MoneyOut
    balance_after: MoneyOut
    transaction_type: Kind
    description: str
    payment_id: UUID | None
    created_at: Time


class TransactionPage(Page):
    """Which transactions."""

    # "transaction_type=" (empty) means all, as clients send it.
    transaction_type: Annotated[
        Kind | None, BeforeValidator(lambda value: value or None, json_schema_input_type=Kind)
    ] = None


class TopUp(Body):
    """Money to put on the own account."""

    amount_znc: Amount
    return_url: ReturnUrl | None = None
    provider: Annotated[str, StringConstraints(max_length=30), ONE_LINE] | None = None


class PaymentCreated(Output):
    """Where to pay."""

    payment_id: UUID
    payment_url: str | None
    amount_znc: MoneyOut
    amount_rub: MoneyOut
    status: Status


class PaymentOut(Output):
    """A payment and where it stands."""

    payment_id: UUID
    provider: str
    payment_url: str | None
    amount_znc: MoneyOut
    amount_rub: MoneyOut
    reversed_znc: MoneyOut
    owed_znc: MoneyOut = Field(
        description="Of what was reversed: spent before, and taken from what comes in next."
    )
    status: Status
    created_at: Time
    updated_at: Time
    expires_at: Time | None
    credited_at: Time | None


class PaymentPage(Page):
    """Which payments."""

    status: Annotated[
        Status | None, BeforeValidator(lambda value: value or None, json_schema_input_type=Status)
    ] = None


class MockTopUp(Body):
    """Money out of nothing (development only)."""

    amount: Amount


class MockTopUpOut(Output):
    """What came of it."""

    payment_id: UUID
    amount: MoneyOut
    new_balance: MoneyOut
    status: Literal["succeeded"] = "succeeded"


class WebhookOut(Output):
    """Taken; what came of it."""

    received: bool = True
    outcome: str


class BundleOut(Output):
    """Tokens sold together."""

    id: UUID
    name: str
    description: str
    duration_hours: int
    token_count: int
    scope: str
    price_znc: MoneyOut
    single_price_znc: MoneyOut
    is_active: bool


class BundlePurchased(Output):
    """The tokens of a bundle just bought."""

    bundle_id: UUID
    tokens: list[TokenOut] = Field(max_length=1000)
    cost_znc: MoneyOut
    new_balance: MoneyOut

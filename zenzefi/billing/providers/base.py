"""What a payment provider is. Another one is a package with an entry point:

    [options.entry_points]
    zenzefi.payment_providers =
        acme = acme_zenzefi:AcmeProvider

named in ``PAYMENT_PROVIDERS=acme``. The class is called with the gate's settings. A provider only
talks to its service and translates: the ledger is changed by ``zenzefi.billing.payments`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from zenzefi.errors import BadRequest, GateError, Unavailable


class WebhookRejected(BadRequest):
    """A webhook whose signature or form is not the provider's."""

    code = "webhook_rejected"
    default = "This webhook's signature is not valid."


class ProviderFailed(Unavailable):
    """The provider did not answer, or refused."""

    code = "payment_provider_failed"
    default = "The payment service does not answer. Nothing was charged; try again in a moment."


class NotRefundable(GateError):
    """The provider can't give this money back by itself."""

    status = 409
    code = "not_refundable"
    default = "This payment can't be refunded here. Refund it at the payment service."


class Outcome(StrEnum):
    """What an event says about a payment."""

    PAID = "paid"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"
    DISPUTED = "disputed"
    DISPUTE_WON = "dispute_won"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Checkout:
    """What a provider is to collect. ``amount`` and ``currency`` are real money (RUB)."""

    payment_id: UUID
    user_id: UUID
    amount: Decimal
    currency: str
    description: str
    return_url: str


@dataclass(frozen=True, slots=True)
class Created:
    """Where the buyer pays. ``reference`` is the provider's name for it."""

    reference: str
    url: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """What a provider says, translated. The payment is found by ``payment_id``, else
    ``reference``, else ``charge``. ``amount``: paid in all, or refunded so far in all."""

    id: str
    type: str
    outcome: Outcome
    payment_id: UUID | None = None
    reference: str | None = None
    charge: str | None = None
    amount: Decimal | None = None
    currency: str | None = None


class Provider(Protocol):
    """One payment service."""

    name: str

    async def create_checkout(self, checkout: Checkout) -> Created:
        """Raises ``ProviderFailed``. Called again for a payment it must not charge twice."""

    def verify_webhook(self, headers: Mapping[str, str], raw: bytes) -> Event:
        """The event in these very bytes. Raises ``WebhookRejected``."""

    async def fetch_status(self, reference: str) -> Event:
        """What the provider knows now ("check now"). Raises ``ProviderFailed``."""

    async def refund(self, charge: str, amount: Decimal, key: str) -> None:
        """Give money back. Raises ``ProviderFailed`` or ``NotRefundable``."""

    async def close(self) -> None:
        """Let connections go."""

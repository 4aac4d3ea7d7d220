"""The interface of payment providers.

A package adds a provider by an entry point, and the operator names it in
``PAYMENT_PROVIDERS=acme``::

    [options.entry_points]
    zenzefi.payment_providers =
        acme = acme_zenzefi:AcmeProvider

The class is called with the gate's settings. A provider calls its payment service and translates
its events; only ``zenzefi.billing.settlement`` changes the ledger.
``docs/how-to/add-a-payment-provider.md`` contains a complete example.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from zenzefi.db.base import storable
from zenzefi.errors import BadRequest, GateError, Unavailable

_MAX_AMOUNT = Decimal(10) ** 14


class WebhookRejected(BadRequest):
    """A webhook whose signature or form is not the provider's."""

    code = "webhook_rejected"
    default = "This webhook's signature is not valid."


class ProviderFailed(Unavailable):
    """The payment provider is unavailable, or rejected the call."""

    code = "payment_provider_failed"
    default = "The payment provider is unavailable. Nothing was charged; try again in a moment."


class CheckoutRefused(BadRequest):
    """The payment provider rejects the payment, for example because of its amount."""

    code = "checkout_refused"
    default = "The payment provider does not accept this amount. Try another one."


class NotRefundable(GateError):
    """The provider can't refund this payment."""

    status = 409
    code = "not_refundable"
    default = "This payment can't be refunded here. Refund it at the payment provider."


class Outcome(StrEnum):
    """The kinds of events."""

    PAID = "paid"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"
    REFUND_FAILED = "refund_failed"
    DISPUTED = "disputed"
    DISPUTE_WON = "dispute_won"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Checkout:
    """A payment that a provider is to collect; ``amount`` in ``currency`` (ISO 4217)."""

    payment_id: UUID
    user_id: UUID
    amount: Decimal
    currency: str
    description: str
    return_url: str


@dataclass(frozen=True, slots=True)
class Created:
    """A checkout: ``url`` is the payment page, ``reference`` the provider's ID of the checkout."""

    reference: str
    url: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a provider in the terms of the gate.

    ``id`` is the provider's ID of the event; an event with a known ID changes nothing. The payment
    is found by ``payment_id``, else by ``reference`` (of the checkout), else by ``charge`` (of the
    transfer). Set ``payment_id`` only from data that a buyer can't control. ``amount`` is in the
    currency of the payment; ``None`` means the whole amount, except for ``PAID``. ``part`` is the
    provider's ID of one refund or dispute, if there can be several: each counts once, and not at
    all after it failed or was won. A refund without ``part`` states the total refunded so far.
    Raises ``ValueError`` for values that can't be stored.
    """

    id: str
    type: str
    outcome: Outcome
    payment_id: UUID | None = None
    reference: str | None = None
    charge: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    part: str | None = None

    def __post_init__(self) -> None:
        for name in ("id", "type", "reference", "charge", "currency", "part"):
            value = getattr(self, name)
            if value is None and name not in ("id", "type"):
                continue
            if not isinstance(value, str) or storable(value) != value:
                raise ValueError(f"{name}: must be text without NUL and lone surrogates")
        for name, longest in (("id", 255), ("type", 100)):
            if not 1 <= len(getattr(self, name)) <= longest:
                raise ValueError(f"{name}: 1 to {longest} characters")
        for name in ("reference", "charge", "part"):
            if len(getattr(self, name) or "") > 255:
                raise ValueError(f"{name}: at most 255 characters")
        if self.currency is not None and not re.fullmatch("[A-Z]{3}", self.currency):
            raise ValueError("currency: three capital letters (ISO 4217)")
        if self.amount is not None and not _is_money(self.amount):
            raise ValueError("amount: 0 or more, with at most two decimal places")


def _is_money(amount: Decimal) -> bool:
    return amount.is_finite() and 0 <= amount < _MAX_AMOUNT and amount == round(amount, 2)


class Provider(Protocol):
    """One payment service."""

    name: str

    async def create_checkout(self, checkout: Checkout) -> Created:
        """Create the payment page. Raises ``ProviderFailed``, or ``CheckoutRefused``.

        Repeated calls for one payment must not charge twice.
        """

    def verify_webhook(self, headers: Mapping[str, str], raw: bytes) -> Event:
        """The event in a webhook's raw body, after its signature. Raises ``WebhookRejected``."""

    async def fetch_status(self, reference: str) -> Event:
        """The current status of a checkout. Raises ``ProviderFailed``."""

    async def refund(self, charge: str, amount: Decimal, key: str) -> Event | None:
        """Refund ``amount``; repeated calls with the same ``key`` are one refund.

        Returns the event if the refund is complete, ``None`` if a webhook reports it later. Raises
        ``ProviderFailed`` or ``NotRefundable``.
        """

    async def close(self) -> None:
        """Close connections."""

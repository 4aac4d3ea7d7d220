"""What a payment provider is. Another one is a package with an entry point:

    [options.entry_points]
    zenzefi.payment_providers =
        acme = acme_zenzefi:AcmeProvider

named in ``PAYMENT_PROVIDERS=acme``. The class is called with the gate's settings. A provider only
talks to its service and translates: the ledger is changed by ``zenzefi.billing.settlement`` alone.
``docs/how-to/take-payments.md`` has a whole one.
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

_MOST = Decimal(10) ** 14


class WebhookRejected(BadRequest):
    """A webhook whose signature or form is not the provider's."""

    code = "webhook_rejected"
    default = "This webhook's signature is not valid."


class ProviderFailed(Unavailable):
    """The provider did not answer, or refused."""

    code = "payment_provider_failed"
    default = "The payment service does not answer. Nothing was charged; try again in a moment."


class CheckoutRefused(BadRequest):
    """The provider takes no such payment: too little, too much, not from here."""

    code = "checkout_refused"
    default = "The payment service takes no payment of this amount. Try another one."


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
    REFUND_FAILED = "refund_failed"
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
    """What a provider says, translated.

    ``id`` is the provider's name for this very event: one that was seen before changes nothing. The
    payment is found by ``payment_id``, else ``reference`` (of the checkout), else ``charge`` (of
    the money moved); name ``payment_id`` only from what a buyer can't have written. ``amount`` is
    in roubles; ``None`` means all of it (not so for ``PAID``). ``part`` is the provider's name of
    one refund or dispute, where there can be several: each counts once, and not at all once it
    failed or was won. A refund without ``part`` tells what was refunded so far in all. Raises
    ``ValueError`` for what can't be kept.
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
                raise ValueError(f"{name}: text without NUL and lone surrogates")
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
    return amount.is_finite() and 0 <= amount < _MOST and amount == round(amount, 2)


class Provider(Protocol):
    """One payment service."""

    name: str

    async def create_checkout(self, checkout: Checkout) -> Created:
        """Where to pay. Raises ``ProviderFailed``, or ``CheckoutRefused`` for this amount.

        Called again for a payment it must not charge twice.
        """

    def verify_webhook(self, headers: Mapping[str, str], raw: bytes) -> Event:
        """The event in these very bytes. Raises ``WebhookRejected``."""

    async def fetch_status(self, reference: str) -> Event:
        """What the provider knows now ("check now"). Raises ``ProviderFailed``."""

    async def refund(self, charge: str, amount: Decimal, key: str) -> Event | None:
        """Give money back: once for the same ``key``, however often it is asked.

        The event of it where it is done at once; ``None`` where a webhook will tell. Raises
        ``ProviderFailed`` or ``NotRefundable``.
        """

    async def close(self) -> None:
        """Let connections go."""

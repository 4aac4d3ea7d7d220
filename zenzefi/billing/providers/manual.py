"""``manual``: the buyer pays outside the gate, an administrator confirms the payment."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from zenzefi.billing.providers.base import (
    Checkout,
    Created,
    Event,
    NotRefundable,
    Outcome,
    WebhookRejected,
)
from zenzefi.settings import Settings


class Manual:
    """Reports no events; administrators confirm payments."""

    name = "manual"

    def __init__(self, settings: Settings) -> None:
        self._origin = settings.public_origin

    async def create_checkout(self, checkout: Checkout) -> Created:
        """The payment's page on the account, which shows instructions."""
        return Created(
            str(checkout.payment_id), f"{self._origin}/account/payments/{checkout.payment_id}"
        )

    def verify_webhook(self, headers: Mapping[str, str], raw: bytes) -> Event:
        """Always raises ``WebhookRejected``."""
        raise WebhookRejected("The manual provider has no webhooks.")

    async def fetch_status(self, reference: str) -> Event:
        """Unknown: administrators confirm payments."""
        return Event(f"status-{reference}", "status", Outcome.NOTHING, reference=reference)

    async def refund(self, charge: str, amount: Decimal, key: str) -> Event | None:
        """Always raises ``NotRefundable``: refunds are paid outside the gate too."""
        raise NotRefundable

    async def close(self) -> None:
        """Does nothing."""

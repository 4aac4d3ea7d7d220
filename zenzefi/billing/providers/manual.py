"""``manual``: the buyer pays outside, an administrator confirms or credits."""

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
    """Nothing moves by itself."""

    name = "manual"

    def __init__(self, settings: Settings) -> None:
        self._origin = settings.public_origin

    async def create_checkout(self, checkout: Checkout) -> Created:
        """The account page tells the buyer what to do."""
        return Created(
            str(checkout.payment_id), f"{self._origin}/account/payments/{checkout.payment_id}"
        )

    def verify_webhook(self, headers: Mapping[str, str], raw: bytes) -> Event:
        """Nobody sends any."""
        raise WebhookRejected("The manual provider takes no webhooks.")

    async def fetch_status(self, reference: str) -> Event:
        """Only an administrator knows."""
        return Event(f"status-{reference}", "status", Outcome.NOTHING, reference=reference)

    async def refund(self, charge: str, amount: Decimal, key: str) -> Event | None:
        """Given back as it was paid: outside."""
        raise NotRefundable

    async def close(self) -> None:
        """Nothing is open."""

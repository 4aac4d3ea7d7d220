"""``mock``: money out of nothing, for development (settings refuse it without ``DEBUG``).

Its webhooks are JSON ``{"id", "type", "payment_id", "amount", "currency"}`` with the header
``X-Mock-Signature``: the hex HMAC-SHA-256 of the raw body under ``SECRET_KEY``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from uuid import UUID

from zenzefi.billing.providers.base import Checkout, Created, Event, Outcome, WebhookRejected
from zenzefi.config import Settings

SIGNATURE = "X-Mock-Signature"


class Mock:
    """A provider that believes everything that is signed."""

    name = "mock"

    def __init__(self, settings: Settings) -> None:
        keys = (settings.secret_key, *settings.previous_secret_keys)
        self._keys = [key.get_secret_value().encode() for key in keys]
        self._origin = settings.public_origin

    def sign(self, raw: bytes) -> str:
        """The signature of a webhook, for tests and development."""
        return hmac.new(self._keys[0], raw, hashlib.sha256).hexdigest()

    async def create_checkout(self, checkout: Checkout) -> Created:
        """There is nothing to pay with."""
        return Created(
            f"mock-{checkout.payment_id}", f"{self._origin}/account/payments/{checkout.payment_id}"
        )

    def verify_webhook(self, headers: Mapping[str, str], raw: bytes) -> Event:
        """Check the signature, then read."""
        given = headers.get(SIGNATURE, "").encode("utf-8", "replace")
        if not any(
            hmac.compare_digest(hmac.new(key, raw, hashlib.sha256).hexdigest().encode(), given)
            for key in self._keys
        ):
            raise WebhookRejected
        try:
            value = json.loads(raw)
            amount = value.get("amount")
            return Event(
                id=str(value["id"])[:255],
                type=str(value["type"])[:100],
                outcome=Outcome(value["type"]),
                payment_id=UUID(value["payment_id"]),
                charge=f"mock-charge-{value['payment_id']}",
                amount=None if amount is None else Decimal(str(amount)),
                currency=value.get("currency"),
            )
        except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation):
            raise WebhookRejected("This webhook can't be understood.") from None

    async def fetch_status(self, reference: str) -> Event:
        """Nothing has been paid, unless a webhook said so."""
        return Event(f"status-{reference}", "status", Outcome.NOTHING, reference=reference)

    async def refund(self, charge: str, amount: Decimal, key: str) -> None:
        """As easily as it came."""

    async def close(self) -> None:
        """Nothing is open."""

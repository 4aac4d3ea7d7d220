"""``mock``: credits money without a payment, for development (requires ``DEBUG``).

Its webhooks are JSON ``{"id", "type", "payment_id", "amount", "currency"}``, and ``"reference"``,
``"charge"``, ``"part"`` where they differ from its own, with the header ``X-Mock-Signature``:
the hex HMAC-SHA-256 of the raw body under ``SECRET_KEY``. ``type`` is one of ``Outcome``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from uuid import UUID

from zenzefi.billing.providers.base import Checkout, Created, Event, Outcome, WebhookRejected
from zenzefi.settings import Settings

SIGNATURE = "X-Mock-Signature"


class Mock:
    """Accepts every event with a valid signature."""

    name = "mock"

    def __init__(self, settings: Settings) -> None:
        keys = (settings.secret_key, *settings.previous_secret_keys)
        self._keys = [key.get_secret_value().encode() for key in keys]
        self._origin = settings.public_origin

    def sign(self, raw: bytes) -> str:
        """The signature of a webhook, for tests and development."""
        return hmac.new(self._keys[0], raw, hashlib.sha256).hexdigest()

    async def create_checkout(self, checkout: Checkout) -> Created:
        """The payment's page on the account; nothing is charged."""
        return Created(
            f"mock-{checkout.payment_id}", f"{self._origin}/account/payments/{checkout.payment_id}"
        )

    def verify_webhook(self, headers: Mapping[str, str], raw: bytes) -> Event:
        """The event, after its signature was verified. Raises ``WebhookRejected``."""
        given = headers.get(SIGNATURE, "").encode("utf-8", "replace")
        if not any(
            hmac.compare_digest(hmac.new(key, raw, hashlib.sha256).hexdigest().encode(), given)
            for key in self._keys
        ):
            raise WebhookRejected
        try:
            value = json.loads(raw)
            amount, payment_id = value.get("amount"), value.get("payment_id")
            charge = value.get("charge") or (payment_id and f"mock-charge-{payment_id}")
            return Event(
                id=value["id"],
                type=value["type"],
                outcome=Outcome(value["type"]),
                payment_id=None if payment_id is None else UUID(payment_id),
                reference=value.get("reference"),
                charge=charge,
                amount=None if amount is None else Decimal(amount),
                currency=value.get("currency"),
                part=value.get("part"),
            )
        except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation):
            raise WebhookRejected("This webhook is malformed.") from None

    async def fetch_status(self, reference: str) -> Event:
        """Unpaid: only webhooks report payments."""
        return Event(f"status-{reference}", "status", Outcome.NOTHING, reference=reference)

    async def refund(self, charge: str, amount: Decimal, key: str) -> Event | None:
        """Complete at once."""
        return Event(f"refund-{key}", "refund", Outcome.REFUNDED, charge=charge)

    async def close(self) -> None:
        """Does nothing."""

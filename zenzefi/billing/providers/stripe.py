"""``stripe``: Stripe Checkout by the official SDK (the extra ``zenzefi[stripe]``).

Webhooks are verified as Stripe documents it (``Stripe-Signature``, a tolerance of five minutes);
STRIPE_WEBHOOK_SECRET may contain two secrets, so that one can be rotated.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from zenzefi.billing.providers.base import (
    Checkout,
    CheckoutRefused,
    Created,
    Event,
    NotRefundable,
    Outcome,
    ProviderFailed,
    WebhookRejected,
)
from zenzefi.settings import Settings, SettingsError

log = logging.getLogger(__name__)

SIGNATURE = "Stripe-Signature"
_TOLERANCE = 300  # seconds
_OUTCOMES = {
    "checkout.session.async_payment_succeeded": Outcome.PAID,
    "checkout.session.async_payment_failed": Outcome.FAILED,
    "checkout.session.expired": Outcome.EXPIRED,
    "charge.refunded": Outcome.REFUNDED,
    "charge.dispute.created": Outcome.DISPUTED,
    "charge.dispute.funds_withdrawn": Outcome.DISPUTED,
    "charge.dispute.funds_reinstated": Outcome.DISPUTE_WON,
}
_AMOUNT_REFUSED = {"amount_too_small", "amount_too_large"}


class Stripe:
    """Stripe Checkout, test and live mode by the key."""

    name = "stripe"

    def __init__(self, settings: Settings) -> None:
        if settings.stripe_secret_key is None or not settings.stripe_webhook_secret:
            raise SettingsError(
                ["PAYMENT_PROVIDERS: stripe needs STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET."]
            )
        try:
            import stripe
        except ImportError:
            raise SettingsError(
                ["PAYMENT_PROVIDERS: stripe needs its SDK. Run: pip install 'zenzefi[stripe]'"]
            ) from None
        self._stripe: Any = stripe
        self._secrets = [key.get_secret_value() for key in settings.stripe_webhook_secret]
        self._http: Any = stripe.AIOHTTPClient(timeout=20)
        options: dict[str, Any] = {"http_client": self._http, "max_network_retries": 2}
        if settings.stripe_api_base:
            options["base_addresses"] = {"api": settings.stripe_api_base}
        self._client: Any = stripe.StripeClient(
            settings.stripe_secret_key.get_secret_value(), **options
        )

    async def create_checkout(self, checkout: Checkout) -> Created:
        """Create a Checkout Session; the payment's ID is the idempotency key."""
        back = checkout.return_url
        params = {
            "mode": "payment",
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": checkout.currency.lower(),
                        "unit_amount": int(checkout.amount * 100),
                        "product_data": {"name": checkout.description},
                    },
                }
            ],
            "client_reference_id": str(checkout.payment_id),
            "metadata": {"payment_id": str(checkout.payment_id)},
            "payment_intent_data": {"metadata": {"payment_id": str(checkout.payment_id)}},
            "success_url": back,
            "cancel_url": back,
        }
        try:
            session = await self._client.v1.checkout.sessions.create_async(
                params, {"idempotency_key": f"checkout-{checkout.payment_id}"}
            )
        except self._stripe.StripeError as error:
            if error.code in _AMOUNT_REFUSED:
                raise CheckoutRefused from error
            raise self._failed(error) from error
        expires = getattr(session, "expires_at", None)
        return Created(
            session.id, session.url, datetime.fromtimestamp(expires, UTC) if expires else None
        )

    def verify_webhook(self, headers: Mapping[str, str], raw: bytes) -> Event:
        """The event, if one of the secrets signed these bytes within the last five minutes."""
        given = headers.get(SIGNATURE, "")
        if not given.isascii():  # compare_digest() in the SDK requires ASCII text
            raise WebhookRejected
        for secret in self._secrets:
            try:
                text = raw.decode("utf-8")
                self._stripe.WebhookSignature.verify_header(text, given, secret, _TOLERANCE)
            except (self._stripe.SignatureVerificationError, ValueError):
                continue
            return self._event(text)
        raise WebhookRejected

    def _event(self, text: str) -> Event:
        try:
            value = json.loads(text)
            return _translate(value["id"], value["type"], value["data"]["object"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise WebhookRejected("This webhook is malformed.") from None

    async def fetch_status(self, reference: str) -> Event:
        """The current state of the Checkout Session."""
        try:
            session = await self._client.v1.checkout.sessions.retrieve_async(reference)
        except self._stripe.StripeError as error:
            raise self._failed(error) from error
        value = json.loads(str(session))
        kind = {
            "expired": "checkout.session.expired",
            "complete": "checkout.session.completed",
        }.get(value.get("status"), "checkout.session.open")
        return _translate(f"status-{reference}-{value.get('payment_status')}", kind, value)

    async def refund(self, charge: str, amount: Decimal, key: str) -> Event | None:
        """Request the refund; Stripe reports its result by webhook."""
        try:
            await self._client.v1.refunds.create_async(
                {"payment_intent": charge, "amount": int(amount * 100)},
                {"idempotency_key": f"refund-{key}"},
            )
        except self._stripe.InvalidRequestError as error:
            raise NotRefundable from error
        except self._stripe.StripeError as error:
            raise self._failed(error) from error
        return None

    async def close(self) -> None:
        """Close the SDK's HTTP client."""
        await self._http.close_async()

    def _failed(self, error: Any) -> ProviderFailed:
        log.warning(
            "Stripe call failed: error=%s code=%s stripe_request=%s",
            *(type(error).__name__, error.code, error.request_id),
        )
        return ProviderFailed()


def _translate(event_id: str, kind: str, value: dict[str, Any]) -> Event:
    """The event for an event of Stripe, or for a session that was queried.

    Raises ``KeyError``, ``ValueError``, ``TypeError`` for malformed objects.
    """
    outcome, is_session = _outcome(kind, value), kind.startswith("checkout.session.")
    if outcome is Outcome.NOTHING:
        return Event(event_id, kind[:100], outcome)
    # A charge states the total refunded, a refund or dispute only its own amount.
    is_total = kind == "charge.refunded"
    amount_in = "amount_total" if is_session else "amount_refunded" if is_total else "amount"
    amount, currency = value.get(amount_in), value.get("currency")
    charge = value.get("payment_intent")
    return Event(
        id=event_id,
        type=kind,
        outcome=outcome,
        payment_id=_named(value) if is_session else None,
        reference=value["id"] if is_session else None,
        charge=None if charge is None else str(charge),
        amount=None if amount is None else Decimal(int(amount)).scaleb(-2),
        currency=None if currency is None else str(currency).upper(),
        part=None if is_session or is_total else value["id"],
    )


def _outcome(kind: str, value: dict[str, Any]) -> Outcome:
    if kind == "checkout.session.completed":
        # With delayed payment methods the session completes before the money arrives.
        return Outcome.PAID if value.get("payment_status") == "paid" else Outcome.NOTHING
    if kind.startswith("refund."):
        is_over = value.get("status") in ("failed", "canceled")
        return Outcome.REFUND_FAILED if is_over else Outcome.REFUNDED
    if kind.startswith("charge.dispute."):
        status = str(value.get("status"))
        if status.startswith("warning_"):  # an inquiry moves no money
            return Outcome.NOTHING
        if kind == "charge.dispute.closed" and status == "won":
            return Outcome.DISPUTE_WON
    return _OUTCOMES.get(kind, Outcome.NOTHING)


def _named(session: dict[str, Any]) -> UUID | None:
    """The payment's ID in the session's metadata, which only the gate writes.

    ``client_reference_id`` is not used: buyers control it in the URL of a payment link.
    """
    try:
        return UUID((session.get("metadata") or {}).get("payment_id"))
    except (ValueError, TypeError, AttributeError):
        return None  # a session of another program in the same Stripe account

"""Errors of billing.

Those that payment providers raise are in :mod:`zenzefi.billing.providers.base`, which is the
interface that providers implement.
"""

from __future__ import annotations

from typing import Any

from zenzefi.errors import Conflict, PaymentRequired


class InsufficientBalance(PaymentRequired):
    """A purchase that costs more than the balance."""

    code = "insufficient_balance"
    default = "Insufficient balance"

    def __init__(self, detail: str | None = None, *, missing: str | None = None) -> None:
        """``missing``: the amount to top up, written as the API writes money."""
        super().__init__(detail)
        self.missing = missing

    def body(self, request_id: str) -> dict[str, Any]:
        """The error shape, with ``missing_znc`` for programs."""
        more = {} if self.missing is None else {"missing_znc": self.missing}
        return super().body(request_id) | more


class PaymentNotOpen(Conflict):
    """The payment is no longer pending."""

    code = "payment_not_open"
    default = "This payment is no longer pending."

"""The refund rule: how much is refunded when an access token is revoked."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal

from zenzefi.settings import RefundPolicy

ZERO = Decimal("0.00")
CENT = Decimal("0.01")


def refund_due(
    cost: Decimal, *, duration_hours: int, seconds_left: float | None, used_tokens: RefundPolicy
) -> Decimal:
    """The refund in ZNC for a token that cost ``cost``: two decimal places, rounded down.

    An unused token (``seconds_left`` is ``None``) is refunded in full. A used token is refunded by
    the policy ``used_tokens``: ``nothing``, or with ``pro_rata`` the share of its remaining time.
    """
    if seconds_left is None:
        return cost
    if used_tokens == "nothing":
        return ZERO
    share = cost * Decimal(max(0.0, seconds_left)) / (duration_hours * 3600)
    return min(cost, share.quantize(CENT, ROUND_DOWN))

"""What revoking an access token gives back. Pure; the only place that decides it."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal

from zenzefi.settings import RefundPolicy

ZERO = Decimal("0.00")
CENT = Decimal("0.01")


def refund_due(
    cost: Decimal, *, duration_hours: int, seconds_left: float | None, used_tokens: RefundPolicy
) -> Decimal:
    """The refund in ZNC for a token that cost ``cost``: two places, rounded down, at most ``cost``.

    ``seconds_left`` is ``None`` for a token that was never used: it gives back all that was paid.
    A used one gives back nothing, or by ``pro_rata`` the share of its time that is left.
    """
    if seconds_left is None:
        return cost
    if used_tokens == "nothing":
        return ZERO
    share = cost * Decimal(max(0.0, seconds_left)) / (duration_hours * 3600)
    return min(cost, share.quantize(CENT, ROUND_DOWN))

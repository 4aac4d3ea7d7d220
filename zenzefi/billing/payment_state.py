"""Where a payment stands: a pure function of what its provider has said, in whatever order.

Nothing here is added up along the way. Each time something new is heard, the whole is computed anew
from all that was heard: late, early and repeated events therefore end in the same place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal

from zenzefi.billing.providers.base import Outcome

CURRENCY = "RUB"
"""What buyers pay in."""
_ZERO = Decimal("0.00")
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Said:
    """One event, as far as money goes; the fields are those of ``Event``."""

    outcome: Outcome
    amount: Decimal | None = None
    currency: str | None = None
    part: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """``reversed_rub`` and ``reversed_znc`` are one amount: what refunds and open disputes took.

    ``failures``: how many refunds came to nothing.
    """

    is_paid: bool
    is_disputed: bool
    reversed_rub: Decimal
    reversed_znc: Decimal
    failures: int


def standing(amount_znc: Decimal, amount_rub: Decimal, said: Iterable[Said]) -> Standing:
    """What all of ``said`` comes to for a payment of ``amount_znc``, which cost ``amount_rub``.

    Paid is what came to exactly that amount in roubles. Named refunds and disputes add up, each
    once, and those that failed or were won not at all. Of totals without a name the greatest
    counts, less what failed of it; a provider that tells both tells the same. No more than the
    whole is ever reversed; a part of it is the same part in both currencies, whatever the rate is
    by now.
    """
    is_paid, total = False, _ZERO
    refunds, disputes = _Parts(), _Parts()
    for one in said:
        amount = amount_rub if one.amount is None else min(one.amount, amount_rub)
        match one.outcome:
            case Outcome.PAID:
                is_paid |= is_full(amount_rub, one.amount, one.currency)
            case Outcome.REFUNDED if one.part is None:
                total = max(total, amount)
            case Outcome.REFUNDED:
                refunds.add(one.part, amount)
            case Outcome.REFUND_FAILED:
                refunds.undo(one.part, amount)
            case Outcome.DISPUTED:
                disputes.add(one.part, amount)
            case Outcome.DISPUTE_WON:
                disputes.undo(one.part, amount)
    failed = sum(refunds.undone.values(), _ZERO)
    refunded = max(_ZERO, total - failed, sum(refunds.standing, _ZERO))
    reversed_rub = min(amount_rub, refunded + sum(disputes.standing, _ZERO))
    reversed_znc = (amount_znc * reversed_rub / amount_rub).quantize(_CENT, ROUND_HALF_UP)
    return Standing(
        is_paid, bool(disputes.standing), reversed_rub, reversed_znc, len(refunds.undone)
    )


@dataclass(slots=True)
class _Parts:
    """Refunds or disputes by name, and those that came to nothing in the end."""

    done: dict[str | None, Decimal] = field(default_factory=dict)
    undone: dict[str | None, Decimal] = field(default_factory=dict)

    def add(self, name: str | None, amount: Decimal) -> None:
        self.done[name] = max(amount, self.done.get(name, _ZERO))

    def undo(self, name: str | None, amount: Decimal) -> None:
        self.undone[name] = max(amount, self.undone.get(name, _ZERO))

    @property
    def standing(self) -> list[Decimal]:
        return [amount for name, amount in self.done.items() if name not in self.undone]


def is_full(amount_rub: Decimal, amount: Decimal | None, currency: str | None) -> bool:
    """Whether this is exactly what was to be paid."""
    return amount == amount_rub and currency == CURRENCY

"""The state of a payment: a pure function of the facts that its provider reported.

Theory of operation
===================

A provider reports *events*: by webhook, or when its API is queried. They arrive late, repeatedly
and in any order. Each event that concerns money states one :class:`PaymentFact`; all facts of a
payment are stored. :func:`payment_state` computes the :class:`PaymentState` from the whole set,
each time a fact is added. Nothing is accumulated from the previous state.

=================  =====================================================================
fact               effect on the state
=================  =====================================================================
``PAID``           ``is_paid``, if amount and currency are exactly those of the payment
``REFUNDED``       with ``part``: one refund; without: the total refunded so far
``REFUND_FAILED``  cancels the refund of the same ``part``, also if it arrives first
``DISPUTED``       one open dispute; its amount is withheld
``DISPUTE_WON``    cancels the dispute of the same ``part``, also if it arrives first
=================  =====================================================================

``FAILED``, ``EXPIRED`` and ``CANCELLED`` do not move money. They do not change the state, only the
status of a payment that is still pending (``settlement``).

Refunds with a ``part`` are added up, each once, with the greatest amount reported for it. Of totals
the greatest counts, less the failed refunds. A provider that reports both states the same money
twice, so the greater of the two results is used. Open disputes are added to that.

Guaranteed
----------
- The order of facts does not matter, and a repeated fact changes nothing.
- ``0 <= reversed_rub <= amount_rub`` and ``0 <= reversed_znc <= amount_znc``; a payment that was
  reversed completely in its currency was reversed completely in ZNC.
- ``reversed_znc`` is the same share of the payment as ``reversed_rub``, rounded to hundredths. The
  current exchange rate is not used.

``tests/billing/test_payment_state.py`` checks these properties for arbitrary sets of facts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal

from zenzefi.billing.providers.base import Outcome

RUB = "RUB"
_ZERO = Decimal("0.00")
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class PaymentFact:
    """The statement of one event about money; the fields are those of ``Event``."""

    outcome: Outcome
    amount: Decimal | None = None
    currency: str | None = None
    part: str | None = None


@dataclass(frozen=True, slots=True)
class PaymentState:
    """The result of all facts of a payment."""

    is_paid: bool
    is_disputed: bool
    """Whether a dispute is open."""
    reversed_rub: Decimal
    """Amount of all refunds and open disputes, in the currency of the payment."""
    reversed_znc: Decimal
    """The same amount in ZNC."""
    failures: int
    """Number of failed refunds."""


def payment_state(
    amount_znc: Decimal,
    amount_rub: Decimal,
    facts: Iterable[PaymentFact],
    currency: str = RUB,
) -> PaymentState:
    """The state of a payment of ``amount_znc``, whose price was ``amount_rub`` in ``currency``."""
    is_paid, total = False, _ZERO
    refunds, disputes = _Parts(), _Parts()
    for fact in facts:
        amount = amount_rub if fact.amount is None else min(fact.amount, amount_rub)
        match fact.outcome:
            case Outcome.PAID:
                is_paid |= is_full(amount_rub, currency, fact.amount, fact.currency)
            case Outcome.REFUNDED if fact.part is None:
                total = max(total, amount)
            case Outcome.REFUNDED:
                refunds.add(fact.part, amount)
            case Outcome.REFUND_FAILED:
                refunds.cancel(fact.part, amount)
            case Outcome.DISPUTED:
                disputes.add(fact.part, amount)
            case Outcome.DISPUTE_WON:
                disputes.cancel(fact.part, amount)
    failed = sum(refunds.cancelled.values(), _ZERO)
    refunded = max(_ZERO, total - failed, sum(refunds.effective, _ZERO))
    reversed_rub = min(amount_rub, refunded + sum(disputes.effective, _ZERO))
    reversed_znc = (amount_znc * reversed_rub / amount_rub).quantize(_CENT, ROUND_HALF_UP)
    return PaymentState(
        is_paid, bool(disputes.effective), reversed_rub, reversed_znc, len(refunds.cancelled)
    )


@dataclass(slots=True)
class _Parts:
    """Refunds or disputes by ``part``, and those that failed or were won."""

    reported: dict[str | None, Decimal] = field(default_factory=dict)
    cancelled: dict[str | None, Decimal] = field(default_factory=dict)

    def add(self, part: str | None, amount: Decimal) -> None:
        self.reported[part] = max(amount, self.reported.get(part, _ZERO))

    def cancel(self, part: str | None, amount: Decimal) -> None:
        self.cancelled[part] = max(amount, self.cancelled.get(part, _ZERO))

    @property
    def effective(self) -> list[Decimal]:
        """The amounts of those that were not cancelled."""
        return [amount for part, amount in self.reported.items() if part not in self.cancelled]


def is_full(price: Decimal, currency: str, amount: Decimal | None, paid_in: str | None) -> bool:
    """Whether amount and currency are exactly those of the payment."""
    return amount == price and paid_in == currency

"""Amounts of payments: their price, the smallest one, and round ones."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, ROUND_UP, Decimal

from zenzefi.errors import Invalid
from zenzefi.settings import Settings

_CENT = Decimal("0.01")
_MAX_COST = Decimal(10) ** 12
_STEPS = (1, 2, 5, 10)


class PaymentAmounts:
    """Converts between ZNC and the currency that buyers pay in."""

    def __init__(self, settings: Settings) -> None:
        self._rate = settings.rates[settings.payment_currency]
        self._minimum = settings.payment_minimum

    def cost(self, amount: Decimal) -> Decimal:
        """The price of ``amount`` ZNC in the currency that buyers pay in.

        Raises ``Invalid`` if it is below the smallest payment or out of range.
        """
        cost = (amount * self._rate).quantize(_CENT, ROUND_HALF_UP)
        if not self._minimum <= cost < _MAX_COST:
            raise Invalid.field(
                "body",
                "amount_znc",
                type="amount_out_of_range",
                msg=f"costs {cost}, which is out of range: the smallest payment is {self._minimum}",
                input=f"{amount:.2f}",
            )
        return cost

    def at_least(self, amount: Decimal) -> Decimal:
        """The smallest amount in ZNC that can be paid and is not below ``amount``."""
        return max(amount, self._worth(self._minimum))

    def rounded_up(self, amount: Decimal) -> Decimal:
        """The amount in ZNC whose price is round (1, 2 or 5, with zeros) and not below ``amount``.

        Where no amount in hundredths of a ZNC has that price, the next higher one is taken.
        """
        price = (self.at_least(amount) * self._rate).quantize(_CENT, ROUND_HALF_UP)
        unit = Decimal(1).scaleb(max(price.adjusted(), 0))
        found = next(unit * step for step in _STEPS if unit * step >= price)
        return max(amount, self._worth(found))

    def _worth(self, price: Decimal) -> Decimal:
        """The amount in ZNC that costs ``price``, rounded up to hundredths."""
        return (price / self._rate).quantize(_CENT, ROUND_UP)

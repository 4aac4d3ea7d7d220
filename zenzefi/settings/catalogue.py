"""The price list: which durations are on sale, at what price, with which scope.

A price list comes from the settings (``TOKEN_PRICE_*``, ``TOKEN_PRICES``, ``SCOPE_PRICES``) or from
a version that administrators published (:mod:`zenzefi.tokens.offers`). Both use the same form: an
object of durations and prices, in which ``off`` takes a duration off sale.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

OFF = "off"
MAX_HOURS = 24 * 3660
"""The longest duration that can be sold, in hours."""
_MAX_DURATIONS = 50
_DURATION = re.compile(r"([1-9][0-9]{0,5})(h|d)?")
_PRICE = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,2})?")

Prices = Mapping[int, Decimal | None]
"""Prices in ZNC by duration in hours; ``None``: not on sale."""


def parse_duration(text: str) -> int:
    """The hours in ``6``, ``6h`` or ``3d``. Raises ``ValueError``."""
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"{text!r} is not a duration like 6, 6h or 3d")
    hours = int(found[1]) * (24 if found[2] == "d" else 1)
    if hours > MAX_HOURS:
        raise ValueError(f"{text!r} is longer than {MAX_HOURS // 24} days")
    return hours


def parse_price(value: object) -> Decimal | None:
    """The price in ZNC, or ``None`` for ``off``. Raises ``ValueError``."""
    text = str(value).strip().lower()
    if value is None or text == OFF:
        return None
    try:
        price = Decimal(text) if _PRICE.fullmatch(text) else None
    except InvalidOperation:
        price = None
    if price is None or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a price like 2.50, 0 for free, or off")
    return price.quantize(Decimal("0.01"))


def parse_prices(value: object) -> dict[int, Decimal | None]:
    """The prices in an object such as ``{"6h": "3.00", "30d": "off"}``. Raises ``ValueError``."""
    if not isinstance(value, Mapping):
        raise ValueError('must be an object of durations and prices, like {"6h": "3.00"}')
    if len(value) > _MAX_DURATIONS:
        raise ValueError(f"must have at most {_MAX_DURATIONS} durations")
    found: dict[int, Decimal | None] = {}
    for name, price in value.items():
        hours = parse_duration(str(name))
        if hours in found:
            raise ValueError(f"names {hours} hours twice")
        found[hours] = parse_price(price)
    return found


def parse_scope_prices(value: object) -> dict[str, dict[int, Decimal | None]]:
    """The prices by scope. Raises ``ValueError``."""
    if not isinstance(value, Mapping):
        raise ValueError('must be an object of scopes, like {"reports": {"24h": "9.00"}}')
    return {str(name): parse_prices(prices) for name, prices in value.items()}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A price list. The scope ``full`` has the prices of ``prices``."""

    prices: Prices
    scope_prices: Mapping[str, Prices] = field(default_factory=dict)
    """Other prices with a scope. A duration that is missing there has the price of ``prices``."""

    def price(self, hours: int, scope: str) -> Decimal | None:
        """The price in ZNC, or ``None`` if this duration is not sold with this scope."""
        special = self.scope_prices.get(scope, {})
        return special[hours] if hours in special else self.prices.get(hours)

    def durations(self, scope: str) -> list[int]:
        """The durations sold with this scope, in hours, the shortest first."""
        known = {*self.prices, *self.scope_prices.get(scope, {})}
        return sorted(hours for hours in known if self.price(hours, scope) is not None)

    @property
    def known_durations(self) -> list[int]:
        """All durations that the price list names, on sale or not, the shortest first."""
        return sorted({*self.prices, *(h for one in self.scope_prices.values() for h in one)})

    def all_durations(self, scopes: list[str]) -> list[int]:
        """The durations sold with any of these scopes, the shortest first."""
        return sorted({hours for scope in scopes for hours in self.durations(scope)})

    def content(self) -> dict[str, Any]:
        """The price list as JSON; :meth:`of_content` reads it."""
        return {
            "prices": _content(self.prices),
            "scopes": {name: _content(prices) for name, prices in self.scope_prices.items()},
        }

    @classmethod
    def of_content(cls, content: Mapping[str, Any]) -> Catalogue:
        """The price list of :meth:`content`. Raises ``ValueError``."""
        return cls(
            parse_prices(content.get("prices", {})), parse_scope_prices(content.get("scopes", {}))
        )


def _content(prices: Prices) -> dict[str, str]:
    return {str(hours): OFF if price is None else f"{price:.2f}" for hours, price in prices.items()}

"""Whether everybody gets access for nothing: registration is open and tokens cost nothing.

These are the defaults, good for trying the gate on one machine. Where others can reach it, the
operator has to choose: prices, closed registration, or free access (``FREE_FOR_ALL``).

A price that is not set does not make a token free while other prices are set: the duration is off
sale then, and a warning names it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from zenzefi.settings.billing import DURATIONS
from zenzefi.settings.catalogue import Catalogue

if TYPE_CHECKING:
    from zenzefi.settings.model import Settings

_NAMES = dict(
    zip(
        DURATIONS,
        (f"TOKEN_PRICE_{name}" for name in ("1H", "12H", "24H", "7D", "30D")),
        strict=True,
    )
)
_CHOICES = (
    "Set prices (TOKEN_PRICE_1H, 12H, 24H, 7D, 30D), or REGISTRATION=closed, or FREE_FOR_ALL=true "
    "if that is intended."
)


def catalogue(settings: Settings) -> Catalogue:
    """The price list of the settings."""
    given = _single_prices(settings)
    prices: dict[int, Decimal | None] = {
        hours: price if isinstance(price, Decimal) else None for hours, price in given.items()
    }
    if not _has_prices(settings):  # no price at all: tokens are free
        prices |= {hours: Decimal("0.00") for hours, price in given.items() if price is None}
    return Catalogue(prices | settings.token_prices, settings.scope_prices)


def _single_prices(settings: Settings) -> dict[int, Decimal | str | None]:
    """The values of ``TOKEN_PRICE_*`` by duration in hours."""
    return {
        1: settings.token_price_1h,
        12: settings.token_price_12h,
        24: settings.token_price_24h,
        168: settings.token_price_7d,
        720: settings.token_price_30d,
    }


def _has_prices(settings: Settings) -> bool:
    """Whether any token costs something."""
    single = _single_prices(settings).values()
    tables = [settings.token_prices, *settings.scope_prices.values()]
    return any(isinstance(price, Decimal) and price > 0 for price in single) or any(
        price for table in tables for price in table.values()
    )


def problem(settings: Settings, *, is_reachable: bool = False) -> str | None:
    """Why a gate with these settings must not serve; ``None`` if it may.

    ``is_reachable``: other machines can connect to it, even if ``BACKEND_URL`` is on loopback.
    """
    if settings.debug or (settings.is_private and not is_reachable):
        return None
    if _free(settings) and not _has_prices(settings):
        return f"Everybody can register and use the application free of charge. {_CHOICES}"
    return None


def warnings(settings: Settings) -> list[str]:
    """A warning for prices that are not set, and for free tokens, while others have a price."""
    if not _has_prices(settings):
        return []
    found = []
    unset = [
        _NAMES[hours]
        for hours, price in _single_prices(settings).items()
        if price is None and hours not in settings.token_prices
    ]
    if unset:
        found.append(
            f"Not on sale, because the price is not set: {', '.join(unset)}. Set a price, 0 for "
            "free, or off."
        )
    if free := _free(settings):
        found.append(
            f"Everybody can register and get free tokens: {', '.join(free)} is 0. {_CHOICES}"
        )
    return found


def _free(settings: Settings) -> list[str]:
    """The settings of prices that let everybody in for nothing."""
    if settings.free_for_all or settings.registration != "open":
        return []
    offered = catalogue(settings)
    found = [_NAMES.get(h, "TOKEN_PRICES") for h, price in offered.prices.items() if price == 0]
    if any(price == 0 for prices in offered.scope_prices.values() for price in prices.values()):
        found.append("SCOPE_PRICES")
    return list(dict.fromkeys(found))

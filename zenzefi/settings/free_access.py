"""Whether everybody gets access for nothing: registration is open and tokens cost nothing.

These are the defaults, good for trying the gate on one machine. Where others can reach it, the
operator has to choose: prices, closed registration, or free access (``FREE_FOR_ALL``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zenzefi.settings.model import Settings

_CHOICES = (
    "Set prices (TOKEN_PRICE_1H, 12H, 24H, 7D, 30D), or REGISTRATION=closed, or FREE_FOR_ALL=true "
    "if that is intended."
)


def problem(settings: Settings, *, is_reachable: bool = False) -> str | None:
    """Why a gate with these settings must not serve; ``None`` if it may.

    ``is_reachable``: other machines can connect to it, even if ``BACKEND_URL`` is on loopback.
    """
    if settings.debug or (settings.is_private and not is_reachable):
        return None
    if _free(settings) and not _paid(settings):
        return f"Everybody can register and use the application free of charge. {_CHOICES}"
    return None


def warnings(settings: Settings) -> list[str]:
    """A warning if tokens of some durations are free while others have a price."""
    free = _free(settings)
    if not free or not _paid(settings):
        return []
    names = ", ".join(free)
    return [f"Everybody can register and get free tokens: {names} is 0. {_CHOICES}"]


def _free(settings: Settings) -> list[str]:
    """The settings of prices that let everybody in for nothing."""
    if settings.free_for_all or settings.registration == "closed":
        return []
    return [name for name, price in _prices(settings) if not price]


def _paid(settings: Settings) -> list[str]:
    return [name for name, price in _prices(settings) if price]


def _prices(settings: Settings) -> list[tuple[str, object]]:
    names = [name for name in type(settings).model_fields if name.startswith("token_price_")]
    return [(name.upper(), getattr(settings, name)) for name in names]

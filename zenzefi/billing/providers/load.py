"""Find the providers that PAYMENT_PROVIDERS names: the bundled ones and installed packages'."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from zenzefi.billing.providers.base import Provider
from zenzefi.billing.providers.manual import Manual
from zenzefi.billing.providers.mock import Mock
from zenzefi.billing.providers.stripe import Stripe
from zenzefi.config import Settings, SettingsError

GROUP = "zenzefi.payment_providers"


def load_providers(settings: Settings) -> dict[str, Provider]:
    """One instance of each, in the order of the setting. Raises ``SettingsError``."""
    known: dict[str, Callable[[Settings], Provider]] = {
        "manual": Manual,
        "mock": Mock,
        "stripe": Stripe,
    }
    found: dict[str, Provider] = {}
    for name in settings.payment_providers:
        make = known.get(name)
        if make is None:
            points = [point for point in entry_points(group=GROUP) if point.name == name]
            if not points:
                raise SettingsError(
                    [f"PAYMENT_PROVIDERS: no provider {name!r} is installed (entry point {GROUP})."]
                )
            make = points[0].load()
        found[name] = make(settings)
    return found

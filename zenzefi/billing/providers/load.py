"""Load the payment providers in PAYMENT_PROVIDERS, bundled or from installed packages."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError

from zenzefi.billing.providers.base import Provider
from zenzefi.billing.providers.manual import Manual
from zenzefi.billing.providers.mock import Mock
from zenzefi.billing.providers.stripe import Stripe
from zenzefi.settings import Settings, SettingsError

GROUP = "zenzefi.payment_providers"
_BUNDLED: dict[str, Callable[[Settings], Provider]] = {
    "manual": Manual,
    "mock": Mock,
    "stripe": Stripe,
}
_METHODS = [name for name, _ in inspect.getmembers(Provider, inspect.isfunction) if name[0] != "_"]


def load_providers(settings: Settings) -> dict[str, Provider]:
    """One instance of each, in the order of the setting.

    Raises ``SettingsError`` with the problems of all providers.
    """
    found: dict[str, Provider] = {}
    problems: list[str] = []
    for name in settings.payment_providers:
        try:
            made = _BUNDLED[name](settings) if name in _BUNDLED else _installed(name, settings)
        except SettingsError as error:
            problems += error.problems
        else:
            found[name] = made
    if problems:
        raise SettingsError(problems)
    return found


def _installed(name: str, settings: Settings) -> Provider:
    points = [point for point in entry_points(group=GROUP) if point.name == name]
    if not points:
        raise _unusable(f"provider {name!r} is not installed (entry point {GROUP})")
    if len(points) > 1:
        packages = ", ".join(sorted(point.value for point in points))
        raise _unusable(f"several packages define provider {name!r}: {packages}")
    try:
        made: Any = points[0].load()(settings)
    except SettingsError:
        raise
    except ValidationError as error:  # mostly its settings; values may be secret and are left out
        shown = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise _unusable(f"provider {name!r} failed to load ({'; '.join(shown)})") from error
    except Exception as error:  # the package may raise anything
        shown = [type(error).__name__, *str(error).splitlines()[:1]]
        raise _unusable(f"provider {name!r} failed to load ({': '.join(shown)})") from error
    if getattr(made, "name", None) != name:
        raise _unusable(f"provider {name!r} has the name {getattr(made, 'name', None)!r}")
    missing = [method for method in _METHODS if not callable(getattr(made, method, None))]
    if missing:
        raise _unusable(f"provider {name!r} lacks methods: {', '.join(missing)}")
    provider: Provider = made
    return provider


def _unusable(reason: str) -> SettingsError:
    return SettingsError([f"PAYMENT_PROVIDERS: {reason}."])

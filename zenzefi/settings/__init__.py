"""Settings: read from the environment and ``.env``, validated at start, all mistakes at once.

Each field carries its description, from which ``docs/reference/settings.md`` is generated. Any
setting may instead be given by ``<NAME>_FILE``, the path of a file with the value.
"""

from __future__ import annotations

from zenzefi.settings.billing import DURATIONS, RefundPolicy
from zenzefi.settings.errors import SettingsError
from zenzefi.settings.gate import default_data_dir
from zenzefi.settings.loading import load_settings, misspelt, unknown_settings
from zenzefi.settings.model import GROUPS, SETTINGS, Settings
from zenzefi.settings.reverse_proxy import DevicePolicy
from zenzefi.settings.values import Network, parse_origin

__all__ = [
    "DURATIONS",
    "GROUPS",
    "SETTINGS",
    "DevicePolicy",
    "Network",
    "RefundPolicy",
    "Settings",
    "SettingsError",
    "default_data_dir",
    "load_settings",
    "misspelt",
    "parse_origin",
    "unknown_settings",
]

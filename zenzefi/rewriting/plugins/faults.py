"""What a plugin can do wrong while it works on a response."""

from __future__ import annotations


class PluginFault(Exception):
    """A plugin broke a rule of the API."""

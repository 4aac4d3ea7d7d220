"""The error of a plugin that breaks a rule of the API."""

from __future__ import annotations


class PluginFault(Exception):
    """A plugin broke a rule of the API."""

"""Zenzefi: a gate in front of one web application that sells time-limited access tokens."""

from zenzefi.version import __version__

__all__ = ["__version__"]

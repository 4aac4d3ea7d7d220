"""Example of the header hooks: remove and set response headers. Off by default; enable it:

PLUGIN_OPTIONS={"header-policy": {"enabled": true, "set": {"X-Robots-Tag": "none"}}}
"""

from __future__ import annotations

import re

from multidict import CIMultiDict
from pydantic import Field, field_validator

from zenzefi.plugins import FIELD_NAME, Context, Plugin, PluginOptions


class HeaderPolicy(Plugin):
    """Removes headers that disclose too much, and sets those of the operator."""

    name = "header-policy"
    enabled = False

    class Options(PluginOptions):
        """Headers to remove and headers to set, in either direction."""

        remove: tuple[str, ...] = ("Server", "X-Powered-By")
        set: dict[str, str] = Field(default_factory=dict)
        request_set: dict[str, str] = Field(default_factory=dict)

        @field_validator("set", "request_set")
        @classmethod
        def _fields(cls, value: dict[str, str]) -> dict[str, str]:
            for name, text in value.items():
                if not FIELD_NAME.fullmatch(name) or re.search(r"[\0\r\n]", text):
                    raise ValueError(f"{name!r} is not a header field (RFC 9110 section 5)")
            return value

    options: Options

    def request_headers(self, context: Context, headers: CIMultiDict[str]) -> None:
        """Apply the options for requests."""
        headers.update(self.options.request_set)

    def response_headers(self, context: Context, headers: CIMultiDict[str]) -> None:
        """Apply the options for responses."""
        for name in self.options.remove:
            headers.popall(name, None)
        headers.update(self.options.set)

"""Example of ``json_value``: masks secrets in JSON responses with stars. Off by default; enable it:

PLUGIN_OPTIONS={"json-mask": {"enabled": true, "fields": ["password", "*_token"]}}
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from zenzefi.plugins import Context, Edit, JsonValue, Match, Needs, Plugin, PluginOptions


class JsonMask(Plugin):
    """Masks members by their name, wherever they are."""

    name = "json-mask"
    enabled = False
    phase = "before"
    matches = Match(content_types=("application/json", "*/*+json"))
    needs = Needs.JSON

    class Options(PluginOptions):
        """Which members are masked, and by what."""

        fields: tuple[str, ...] = ("password", "secret", "*_token")
        mask: str = "***"

    options: Options

    def json_value(self, context: Context, value: JsonValue) -> Edit | None:
        """Replace a string or number whose member name is listed."""
        if value.raw in (b"null", b"true", b"false"):
            return None
        name = next((step for step in reversed(value.path) if isinstance(step, str)), "")
        if any(fnmatchcase(name, pattern) for pattern in self.options.fields):
            return value.replace(self.options.mask)
        return None

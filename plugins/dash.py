"""DASH manifests (ISO/IEC 23009-1): BaseURL, Location, segment templates and lists, xlink."""

from __future__ import annotations

from zenzefi.plugins import Context, Match, Needs, Plugin, Scanner, XmlReader, XmlRules

RULES = XmlRules(
    attributes=frozenset(
        (
            "href",
            "src",
            "url",
            "media",
            "initialization",
            "sourceURL",
            "index",
            "bitstreamSwitching",
        )
    ),
    elements=frozenset(("Location", "PatchLocation")),
    base_element="BaseURL",
)


class Dash(Plugin):
    """Maps the URLs of DASH manifests; segments resolve against ``BaseURL``."""

    name = "dash"
    matches = Match(content_types=("application/dash+xml", "video/vnd.mpeg.dash.mpd"))
    needs = Needs.CHUNKS

    def scanner(self, context: Context) -> Scanner:
        """One scanner per manifest."""
        return XmlReader(RULES, context.mapper, context.url)

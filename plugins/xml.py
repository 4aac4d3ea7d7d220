"""Any other XML: what is an address in feeds, SVG or XHTML is one here too.

Namespace names, schema locations and identifiers look like addresses and are none.
"""

from __future__ import annotations

from zenzefi.plugins import Context, Match, Needs, Plugin, Scanner, XmlReader, XmlRules

RULES = XmlRules(
    attributes=frozenset(("href", "src", "url", "poster")),
    elements=frozenset(
        (
            "link",
            "url",
            "comments",
            "docs",
            "icon",
            "logo",
            "uri",
            "loc",
            "commentRss",
            "content_loc",
            "thumbnail_loc",
            "player_loc",
            "BaseURL",
            "Location",
            "PatchLocation",
        )
    ),
    styles=True,
)
_OWN_PLUGINS = frozenset(
    (
        "application/rss+xml",
        "application/atom+xml",
        "application/rdf+xml",
        "application/dash+xml",
        "application/opml+xml",
        "application/feed+xml",
        "image/svg+xml",
        "application/xhtml+xml",
    )
)


class Xml(Plugin):
    """Maps references in XML types that no other plugin handles."""

    name = "xml"
    matches = Match(content_types=("text/xml", "application/xml", "*/*+xml"))
    needs = Needs.CHUNKS

    def applies(self, context: Context) -> bool:
        """Leave the kinds that have their own plugin to it."""
        return context.content_type not in _OWN_PLUGINS

    def scanner(self, context: Context) -> Scanner:
        """One reader per document."""
        return XmlReader(RULES, context.mapper, context.url)

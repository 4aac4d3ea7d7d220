"""Feeds and site maps: RSS, Atom, RDF, OPML, sitemaps (text of ``link``, ``loc``... and links).

Identifiers are not URLs: Atom's ``id`` and RSS's ``guid`` stay unchanged. Otherwise feed readers
would show all entries as new.
"""

from __future__ import annotations

from zenzefi.plugins import Context, Match, Needs, Plugin, Scanner, XmlReader, xml_format


class Feeds(Plugin):
    """Maps the URLs of feeds and site maps."""

    name = "feeds"
    matches = Match(
        content_types=(
            "application/rss+xml",
            "application/atom+xml",
            "application/rdf+xml",
            "application/opml+xml",
            "text/x-opml",
            "application/feed+xml",
        )
    )
    needs = Needs.CHUNKS

    def scanner(self, context: Context) -> Scanner:
        """One scanner per document."""
        return XmlReader(xml_format("feed"), context.mapper, context.url)

"""Any other XML: the root element shows the format (WebDAV, OpenSearch, WSDL, XHTML, feeds...)."""

from __future__ import annotations

from zenzefi.plugins import Context, Match, Needs, OriginScanner, Plugin, Scanner, XmlByRoot

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
        """Skip documents that have their own plugin."""
        return context.content_type not in _OWN_PLUGINS

    def scanner(self, context: Context) -> Scanner:
        """One scanner per document."""
        return XmlByRoot(
            context.mapper,
            context.url,
            lambda: OriginScanner(context.origins, context.mount),
        )

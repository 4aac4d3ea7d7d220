"""SVG and XHTML documents, read as XML; styles in them are style sheets."""

from __future__ import annotations

from zenzefi.plugins import (
    Context,
    Match,
    Needs,
    OriginScanner,
    Plugin,
    Scanner,
    XmlReader,
    xml_format,
)


class Svg(Plugin):
    """Maps the references of SVG images and XHTML pages."""

    name = "svg"
    matches = Match(content_types=("image/svg+xml", "application/xhtml+xml"))
    needs = Needs.CHUNKS

    def scanner(self, context: Context) -> Scanner:
        """One scanner per document."""
        return XmlReader(
            xml_format("document"),
            context.mapper,
            context.url,
            lambda: OriginScanner(context.origins, context.mount),
        )

"""DASH manifests (ISO/IEC 23009-1), by their table in ``zenzefi/rewriting/xml_formats.py``."""

from __future__ import annotations

from zenzefi.plugins import Context, Match, Needs, Plugin, Scanner, XmlReader, xml_format


class Dash(Plugin):
    """Maps the URLs of DASH manifests; segments resolve against ``BaseURL``."""

    name = "dash"
    matches = Match(content_types=("application/dash+xml", "video/vnd.mpeg.dash.mpd"))
    needs = Needs.CHUNKS

    def scanner(self, context: Context) -> Scanner:
        """One scanner per manifest."""
        return XmlReader(xml_format("dash"), context.mapper, context.url)

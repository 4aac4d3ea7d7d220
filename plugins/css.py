"""Style sheets: ``url()``, ``src()``, ``@import`` and ``image-set()``, by span."""

from __future__ import annotations

from zenzefi.plugins import Context, CssScanner, Match, Needs, Plugin, Scanner


class Css(Plugin):
    """Maps the URLs of style sheets."""

    name = "css"
    matches = Match(content_types=("text/css",))
    needs = Needs.CHUNKS

    def scanner(self, context: Context) -> Scanner:
        """One scanner per style sheet."""
        return CssScanner(context.map)

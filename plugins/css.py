"""Style sheets: ``url()``, ``src()``, ``@import`` and ``image-set()``, by span."""

from __future__ import annotations

from zenzefi.plugins import Context, CssScanner, Match, Mount, Needs, Plugin, Scanner


class Css(Plugin):
    """Maps the URLs of style sheets."""

    name = "css"
    matches = Match(content_types=("text/css",))
    needs = Needs.CHUNKS
    _reads_spellings = True

    def _edits_mentions_only(self, mount: Mount, destination: str | None) -> bool:
        """True at a root mount, where rooted URLs stay."""
        return mount.is_root

    def scanner(self, context: Context) -> Scanner:
        """One scanner per style sheet."""
        return CssScanner(context.map)

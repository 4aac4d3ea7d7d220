"""Scripts: byte-identical, unless they name the upstream's absolute origin.

Integrity hashes, source maps and content hashes keep working that way. What scripts do at run
time is caught at the sinks by the runtime, not here.
"""

from __future__ import annotations

from collections.abc import Sequence

from zenzefi.plugins import Context, Edit, Match, Needs, OriginFinder, Plugin, Scanner


class JavaScript(Plugin):
    """Maps the upstream's origin in every spelling that scripts use."""

    name = "javascript"
    matches = Match(
        content_types=(
            "text/javascript",
            "text/cache-manifest",
            "application/manifest+cache",
        )
    )
    needs = Needs.CHUNKS

    def scanner(self, context: Context) -> Scanner:
        """A search for the host, in C."""
        return _Scanner(OriginFinder(context.origins, context.mount))


class _Scanner:
    def __init__(self, finder: OriginFinder) -> None:
        self._finder = finder

    def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
        return self._finder.edits(window, final)

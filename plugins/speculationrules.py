"""Speculation rules that the ``Speculation-Rules`` header names (HTML, 7.6.1), read as a whole."""

from __future__ import annotations

from zenzefi.plugins import (
    Context,
    Match,
    Needs,
    Plugin,
    Scanner,
    WholeText,
    map_speculation_rules,
)


class SpeculationRules(Plugin):
    """Maps the addresses and URL patterns of rule sets."""

    name = "speculationrules"
    matches = Match(content_types=("application/speculationrules+json",))
    needs = Needs.CHUNKS

    def scanner(self, context: Context) -> Scanner:
        """One scanner per rule set."""
        return WholeText(lambda text: map_speculation_rules(text, context.mapper, context.url))

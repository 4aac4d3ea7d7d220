"""Translates phrases of a page that the application has in one language only."""

from __future__ import annotations

import re

from pydantic import Field

from zenzefi.plugins import Edit, Exchange, Match, Needs, Plugin, PluginOptions, TextNode


class Translation(Plugin):
    """Whole phrases, for browsers that prefer the language."""

    name = "translation"
    matches = Match(content_types=("text/html",))
    needs = Needs.TEXT_NODES

    class Options(PluginOptions):
        """``language``: a code such as ``ru``; ``phrases``: each with its translation."""

        language: str = "ru"
        phrases: dict[str, str] = Field(default_factory=dict)

    options: Options

    def applies(self, exchange: Exchange) -> bool:
        """Reading the header puts it into ``Vary``."""
        accepted = exchange.request_headers.get("Accept-Language", "")
        return bool(self.options.phrases) and accepted.lower().startswith(self.options.language)

    def text_node(self, exchange: Exchange, node: TextNode) -> Edit | None:
        """Longer phrases first."""
        longest_first = sorted(self.options.phrases, key=len, reverse=True)
        pattern = "|".join(map(re.escape, longest_first))
        text = node.text
        new = re.sub(pattern, lambda found: self.options.phrases[found[0]], text)
        return node.replace(new) if new != text else None

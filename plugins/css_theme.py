"""Example of ``scanner``: another colour for a named one, streamed. Off until switched on:

PLUGIN_OPTIONS={"css-theme": {"enabled": true, "colours": {"#ff0000": "#aa0044"}}}
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field

from zenzefi.plugins import Context, Edit, Match, Needs, Plugin, PluginOptions, Scanner


class CssTheme(Plugin):
    """Swaps colours in style sheets."""

    name = "css-theme"
    enabled = False
    matches = Match(content_types=("text/css",))
    needs = Needs.CHUNKS

    class Options(PluginOptions):
        """Which colour becomes which, as style sheets spell them."""

        colours: dict[str, str] = Field(default_factory=dict)

    options: Options

    def scanner(self, context: Context) -> Scanner | None:
        """A new reader per style sheet; none without colours."""
        return _Scanner(self.options.colours) if self.options.colours else None


class _Scanner:
    def __init__(self, colours: dict[str, str]) -> None:
        self._new = {old.lower().encode(): new.encode() for old, new in colours.items()}
        words = sorted(map(re.escape, self._new), key=len, reverse=True)
        self._pattern = re.compile(rb"(?<![\w-])(?:%b)(?![\w-])" % b"|".join(words), re.I)
        self._hold = max(map(len, self._new)) + 1

    def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
        # A match at the very end may go on in the next chunk, so the last bytes wait.
        settled = len(window) if final else max(0, len(window) - self._hold)
        edits = []
        for match in self._pattern.finditer(window):
            if match.start() >= settled:
                break
            edits.append(Edit(*match.span(), self._new[match[0].lower()]))
            settled = max(settled, match.end())
        return settled, edits

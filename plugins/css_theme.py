"""Example of ``scanner``: replaces colours, streamed. Off by default; enable it:

PLUGIN_OPTIONS={"css-theme": {"enabled": true, "colours": {"#ff0000": "#aa0044"}}}
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field

from zenzefi.plugins import Context, Edit, Match, Needs, Plugin, PluginOptions, Scanner


class CssTheme(Plugin):
    """Replaces colours in style sheets."""

    name = "css-theme"
    enabled = False
    phase = "before"
    matches = Match(content_types=("text/css",))
    needs = Needs.CHUNKS

    class Options(PluginOptions):
        """The colours to replace, each with its replacement, as spelled in style sheets."""

        colours: dict[str, str] = Field(default_factory=dict)

    options: Options

    def scanner(self, context: Context) -> Scanner | None:
        """One scanner per style sheet; none without colours."""
        return _Scanner(self.options.colours) if self.options.colours else None


class _Scanner:
    def __init__(self, colours: dict[str, str]) -> None:
        self._new = {old.lower().encode(): new.encode() for old, new in colours.items()}
        words = sorted(map(re.escape, self._new), key=len, reverse=True)
        self._pattern = re.compile(rb"(?<![\w-])(?:%b)(?![\w-])" % b"|".join(words), re.I)
        self._hold = max(map(len, self._new)) + 1

    def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
        # A match at the end may continue in the next chunk, so the last bytes stay unsettled.
        settled = len(window) if final else max(0, len(window) - self._hold)
        edits = []
        for match in self._pattern.finditer(window):
            if match.start() >= settled:
                break
            edits.append(Edit(*match.span(), self._new[match[0].lower()]))
            settled = max(settled, match.end())
        return settled, edits

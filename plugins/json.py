"""JSON: strings that are absolute URLs of the upstream, by span.

Number spelling, key order, white space, byte-order marks, ``)]}'`` guards and NDJSON stay. A
server that wraps its JSON in a call (JSONP) sends a script, and it is treated as one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from zenzefi.plugins import Context, Edit, Match, Needs, OriginFinder, Plugin, Scanner

_GUARD = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:\)\]\}'[^\n]*\n?|for\s*\(;;\);|while\s*\(1\);)?[\x09\x0a\x0d\x1e ]*"
)
_VALUE = re.compile(rb"[\[{\"\d-]|true\b|false\b|null\b|\Z")


class Json(Plugin):
    """Maps strings that begin with the upstream's origin."""

    name = "json"
    matches = Match(
        content_types=(
            "application/json",
            "*/*+json",
            "text/json",
            "application/x-ndjson",
            "application/x-json-stream",
            "application/jsonl",
            "application/json-seq",
        )
    )
    needs = Needs.CHUNKS

    def scanner(self, context: Context) -> Scanner:
        """JSON or script, as the first bytes say."""
        return _Scanner(OriginFinder(context.origins, context.mount))


class _Scanner:
    def __init__(self, finder: OriginFinder) -> None:
        self._finder = finder
        self._script: bool | None = None

    def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
        if self._script is None:
            guard = _GUARD.match(window)
            at = guard.end() if guard else 0
            if len(window) - at < 8 and not final:
                return 0, []
            self._script = _VALUE.match(window, at) is None
        if self._script:
            return self._finder.edits(window, final)
        return self._finder.edits(window, final, _opens_string)


def _opens_string(before: bytes) -> bool:
    """Whether a string begins right behind: after a quote that no backslash escapes."""
    if not before.endswith(b'"'):
        return False
    bare = before[:-1].rstrip(b"\\")
    return (len(before) - 1 - len(bare)) % 2 == 0

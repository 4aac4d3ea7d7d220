"""Scopes: which paths of the upstream a token covers.

Pure. A pattern is an anchored, case-sensitive path: ``*`` stands for any characters within one
segment, ``**`` for any characters. It is matched against the canonical path: percent-decoded
exactly once, as the upstream will. A path that could mean two things is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote_to_bytes

from zenzefi.errors import ScopeRefused

FULL = "full"
EXAMPLES: dict[str, list[str]] = {
    "certificates_only": ["/certificates", "/certificates/**", "/static/**", "/favicon.ico"],
}
"""Ships as an example; a scope of the same name in SCOPES replaces it."""

_TWO_MEANINGS = re.compile(
    r"//"  # merged by some servers, kept by others
    r"|%(?![0-9A-Fa-f]{2})"  # no percent-encoding at all (RFC 3986, 2.1)
    r"|(?i:%2f|%25|%3b|%00)"  # a slash, a percent sign, a parameter or a NUL only after decoding
    r"|;"  # path parameters: cut off by some servers
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _pattern(text: str) -> str:
    parts = re.split(r"(\*\*|\*)", text)
    return "".join(
        ".*" if part == "**" else "[^/]*" if part == "*" else re.escape(part) for part in parts
    )


class Scopes:
    """The scopes of one gate, compiled."""

    def __init__(self, declared: Mapping[str, Sequence[str]]) -> None:
        self.declare(declared)

    def declare(self, declared: Mapping[str, Sequence[str]]) -> None:
        """Replace all scopes; what is asked from now on sees the new ones."""
        self._compiled = {
            name: re.compile("|".join(f"(?:{_pattern(item)})" for item in patterns), re.DOTALL)
            for name, patterns in {**EXAMPLES, **declared}.items()
        }

    def __contains__(self, name: object) -> bool:
        return name == FULL or name in self._compiled

    @property
    def names(self) -> list[str]:
        """All names, ``full`` first."""
        return [FULL, *self._compiled]

    def check(self, scope: str, path: str) -> None:
        """Raise :class:`ScopeRefused` unless a token of ``scope`` covers the raw path."""
        if scope == FULL:
            return
        pattern = self._compiled.get(scope)
        if pattern is None:  # the operator took the scope away after it was sold
            raise ScopeRefused
        if _TWO_MEANINGS.search(path):
            raise ScopeRefused(
                "This address could be read in two ways, and this access token has a scope."
            )
        try:
            canonical = unquote_to_bytes(path).decode("utf-8")
        except UnicodeDecodeError:
            raise ScopeRefused from None
        if _CONTROL.search(canonical) or not pattern.fullmatch(canonical):
            raise ScopeRefused

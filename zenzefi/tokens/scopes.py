"""Scopes: which requests to the upstream a token covers.

Pure. A pattern is an anchored, case-sensitive path: ``*`` stands for any characters within one
segment, ``**`` for any characters. Methods may stand in front (``GET,POST /reports/**``); without
them every method is covered. A path is matched in its canonical form: percent-decoded exactly
once, as the upstream will. A path that could mean two things is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote, unquote_to_bytes

from zenzefi.settings.scope_rules import parse_rule
from zenzefi.tokens.errors import ScopeRefused

FULL = "full"
EXAMPLES: dict[str, list[str]] = {
    "certificates_only": [
        "/certificates",
        "/certificates/**",
        "/configurations/certificatesColumnOrder",
        "/configurations/certificatesColumnVisibility",
    ],
}
"""Ships as an example; a scope of the same name in SCOPES replaces it."""

_TWO_MEANINGS = re.compile(
    r"//"  # merged by some servers, kept by others
    r"|%(?![0-9A-Fa-f]{2})"  # no percent-encoding at all (RFC 3986, 2.1)
    r"|(?i:%2f|%25|%3b|%00)"  # a slash, a percent sign, a parameter or a NUL only after decoding
    r"|;"  # path parameters: cut off by some servers
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _expression(pattern: str) -> str:
    """A regular expression for a path pattern.

    Where a wildcard can take over whatever an earlier one leaves, the earlier one takes the first
    place that fits and is not tried again: several wildcards over a long path would else cost a
    power of its length.
    """
    parts = re.split(r"(\*\*|\*)", pattern)
    out = [re.escape(parts[0])]
    for at in range(1, len(parts), 2):
        wildcard, text = parts[at], re.escape(parts[at + 1])
        following = parts[at + 2] if at + 2 < len(parts) else ""
        some = "." if wildcard == "**" else "[^/]"
        if text and following and (wildcard == "*" or following == "**"):
            out.append(f"(?>{some}*?{text})")
        else:
            out.append(f"{some}*{text}")
    return "".join(out)


class _Scope:
    """One scope's rules, compiled: those for every method, and those for some."""

    def __init__(self, rules: Sequence[str]) -> None:
        by_method: dict[str | None, list[str]] = {}
        for methods, pattern in map(parse_rule, rules):
            for method in methods or (None,):
                by_method.setdefault(method, []).append(f"(?:{_expression(pattern)})")
        # RFC 9110 section 9.3.2: HEAD is GET without the content; who may read may ask.
        if "GET" in by_method:
            by_method.setdefault("HEAD", []).extend(by_method["GET"])
        self._patterns = {
            method: re.compile("|".join(each), re.DOTALL) for method, each in by_method.items()
        }

    def covers(self, path: str, method: str) -> bool:
        """Whether a canonical path may be asked for with this method."""
        return any(
            pattern.fullmatch(path)
            for pattern in (self._patterns.get(None), self._patterns.get(method))
            if pattern is not None
        )

    def covers_all_methods(self, path: str) -> bool:
        """Whether a canonical path may be asked for with every method."""
        pattern = self._patterns.get(None)
        return pattern is not None and pattern.fullmatch(path) is not None


class Scopes:
    """The scopes of one gate. Raises ``ValueError`` for a rule that is none."""

    def __init__(self, declared: Mapping[str, Sequence[str]]) -> None:
        self.declare(declared)

    def declare(self, declared: Mapping[str, Sequence[str]]) -> None:
        """Replace all scopes; what is asked from now on sees the new ones."""
        self._scopes = {name: _Scope(rules) for name, rules in {**EXAMPLES, **declared}.items()}

    def __contains__(self, name: object) -> bool:
        return name == FULL or name in self._scopes

    @property
    def names(self) -> list[str]:
        """All names, ``full`` first."""
        return [FULL, *self._scopes]

    def restricts_methods(self, scope: str, path: str) -> bool:
        """Whether a token of ``scope`` may use only some methods at this raw, checked path."""
        if scope == FULL:
            return False
        known = self._scopes.get(scope)
        return known is None or not known.covers_all_methods(unquote(path))

    def check(self, scope: str, path: str, method: str) -> None:
        """Raise :class:`ScopeRefused` unless a token of ``scope`` covers this raw path."""
        if scope == FULL:
            return
        known = self._scopes.get(scope)
        if known is None:  # the operator took the scope away after it was sold
            raise ScopeRefused
        if _TWO_MEANINGS.search(path):
            raise ScopeRefused(
                "This address could be read in two ways, and this access token has a scope."
            )
        try:
            canonical = unquote_to_bytes(path).decode("utf-8")
        except UnicodeDecodeError:
            raise ScopeRefused from None
        if _CONTROL.search(canonical) or not known.covers(canonical, method):
            raise ScopeRefused

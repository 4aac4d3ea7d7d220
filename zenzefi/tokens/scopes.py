"""Scopes: the requests to the upstream that a token permits.

A rule is an anchored, case-sensitive path pattern: ``*`` matches any characters within one segment,
``**`` any characters. Methods may precede it (``GET,POST /reports/**``); without them the rule
permits every method. A path is matched in its canonical form: percent-decoded once, as the upstream
does. Paths that servers decode differently are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from zenzefi.http_syntax import canonical_path
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
"""Example scopes. A scope of the same name in the setting SCOPES replaces one."""

_TWO_MEANINGS = re.compile(
    r"//"  # merged by some servers, kept by others
    r"|%(?![0-9A-Fa-f]{2})"  # malformed percent-encoding (RFC 3986, 2.1)
    r"|(?i:%2f|%25|%3b|%00)"  # a slash, percent sign, semicolon or NUL after decoding
    r"|;"  # path parameters: removed by some servers
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _expression(pattern: str) -> str:
    """The regular expression of a path pattern, which matches in linear time.

    A wildcard whose following wildcard can match the same characters is made atomic: it takes the
    first match and does not backtrack. Otherwise several wildcards would take polynomial time.
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
    """The compiled rules of one scope, by method; ``None`` for rules without methods."""

    def __init__(self, rules: Sequence[str]) -> None:
        by_method: dict[str | None, list[str]] = {}
        for methods, pattern in map(parse_rule, rules):
            for method in methods or (None,):
                by_method.setdefault(method, []).append(f"(?:{_expression(pattern)})")
        # RFC 9110, 9.3.2: HEAD is GET without content, so a rule for GET permits HEAD.
        if "GET" in by_method:
            by_method.setdefault("HEAD", []).extend(by_method["GET"])
        self._patterns = {
            method: re.compile("|".join(each), re.DOTALL) for method, each in by_method.items()
        }

    def covers(self, path: str, method: str) -> bool:
        """Whether the scope permits this method for a canonical path."""
        return any(
            pattern.fullmatch(path)
            for pattern in (self._patterns.get(None), self._patterns.get(method))
            if pattern is not None
        )

    def covers_all_methods(self, path: str) -> bool:
        """Whether the scope permits every method for a canonical path."""
        pattern = self._patterns.get(None)
        return pattern is not None and pattern.fullmatch(path) is not None


class Scopes:
    """The scopes of one gate. Raises ``ValueError`` for a malformed rule."""

    def __init__(self, declared: Mapping[str, Sequence[str]]) -> None:
        self.declare(declared)

    def declare(self, declared: Mapping[str, Sequence[str]]) -> None:
        """Replace all scopes, effective with the next request."""
        self._scopes = {name: _Scope(rules) for name, rules in {**EXAMPLES, **declared}.items()}

    def __contains__(self, name: object) -> bool:
        return name == FULL or name in self._scopes

    @property
    def names(self) -> list[str]:
        """All names, ``full`` first."""
        return [FULL, *self._scopes]

    def restricts_methods(self, scope: str, path: str) -> bool:
        """Whether ``scope`` permits only some methods for this raw path.

        Call :meth:`check` first.
        """
        if scope == FULL:
            return False
        known = self._scopes.get(scope)
        return known is None or not known.covers_all_methods(unquote(path))

    def check(self, scope: str, path: str, method: str) -> None:
        """Raise :class:`ScopeRefused` (403) unless ``scope`` permits the method for the path.

        ``path`` is the raw path, before percent-decoding.
        """
        if scope == FULL:
            return
        known = self._scopes.get(scope)
        if known is None:  # the operator removed the scope after the token was sold
            raise ScopeRefused
        if _TWO_MEANINGS.search(path):
            raise ScopeRefused(
                "This address is ambiguous, and this access token is limited to a scope."
            )
        try:
            canonical = canonical_path(path, "strict")
        except UnicodeDecodeError:
            raise ScopeRefused from None
        if _CONTROL.search(canonical) or not known.covers(canonical, method):
            raise ScopeRefused

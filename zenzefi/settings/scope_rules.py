"""The grammar of one rule in SCOPES: optional methods and a path pattern."""

from __future__ import annotations

import re

# Methods are case-sensitive (RFC 9110, 9.1), and the rules use capitals only.
_RULE = re.compile(r"(?:([A-Z][A-Z-]*(?:,[A-Z][A-Z-]*)*) )?(/.*)")


def parse_rule(rule: str) -> tuple[frozenset[str] | None, str]:
    """Parse a rule into its methods (``None`` for all) and its path pattern.

    Raises ``ValueError`` for a malformed rule.
    """
    found = _RULE.fullmatch(rule)
    if found is None:
        raise ValueError(f"{rule!r} is not a rule like '/reports/**' or 'GET,POST /reports/**'")
    return frozenset(found[1].split(",")) if found[1] else None, found[2]

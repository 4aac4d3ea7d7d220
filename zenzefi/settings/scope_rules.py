"""The grammar of one rule in SCOPES: methods (optional) and a path pattern. Pure."""

from __future__ import annotations

import re

# Methods are tokens in capitals here (RFC 9110, 9.1: they are case-sensitive).
_RULE = re.compile(r"(?:([A-Z][A-Z-]*(?:,[A-Z][A-Z-]*)*) )?(/.*)")


def parse_rule(rule: str) -> tuple[frozenset[str] | None, str]:
    """Methods (``None``: all) and the path pattern of one rule. Raises ``ValueError``."""
    found = _RULE.fullmatch(rule)
    if found is None:
        raise ValueError(f"{rule!r} is no rule like '/reports/**' or 'GET,POST /reports/**'")
    return frozenset(found[1].split(",")) if found[1] else None, found[2]

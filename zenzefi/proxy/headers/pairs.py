"""Header fields as pairs of bytes, and the form of the tables of both directions.

Pure. Pairs stay in order, repeated ones stay repeated. A name that no table mentions passes
unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

Pairs = list[tuple[bytes, bytes]]


class Verb(StrEnum):
    """What happens to a header."""

    DROP = "drop"
    SET = "set"  # the gate writes its own; received values are dropped
    MAP = "map"  # the value is translated


class Rule(NamedTuple):
    """One row: the header's name in lower case, what happens to it, and why.

    A name that ends in ``*`` stands for all names with this beginning that have no separate row.
    """

    name: str
    verb: Verb
    reason: str


HOP = "belongs to one connection (RFC 9110, 7.6.1)"
FRAMING = "each connection frames the body separately (RFC 9112, 6)"
TRAILERS = "trailers are not passed on (RFC 9110, 6.5.1 allows it)"
DICTIONARY = "dictionary codings can't be rewritten"


def of_one_connection(rules: Iterable[Rule]) -> frozenset[bytes]:
    """The names of the rows for fields that concern one connection, also between two proxies."""
    reasons = (HOP, FRAMING, TRAILERS)
    return frozenset(rule.name.encode() for rule in rules if rule.reason.startswith(reasons))


def named_by_connection(pairs: Iterable[tuple[bytes, bytes]]) -> set[bytes]:
    """The names in ``Connection``, in lower case: fields of one connection (RFC 9110, 7.6.1)."""
    named: set[bytes] = set()
    for name, value in pairs:
        if len(name) == 10 and name.lower() == b"connection":
            named.update(token.strip().lower() for token in value.split(b","))
    return named

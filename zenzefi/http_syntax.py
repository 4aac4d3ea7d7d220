"""Grammar and names of HTTP and Fetch that several packages need. Pure, and below all of them."""

from __future__ import annotations

import re

TCHAR = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
"""One character of a token, as in header names and methods (RFC 9110, 5.6.2), for use in a regular
expression."""
TOKEN = re.compile(f"{TCHAR}+")
"""A token, such as the name of a header field or a method (RFC 9110, 5.6.2)."""
TOKEN_BYTES = re.compile(TOKEN.pattern.encode())

DOCUMENT_DESTINATIONS = frozenset(("document", "iframe", "frame", "embed", "object", "fencedframe"))
"""Values of ``Sec-Fetch-Dest`` whose response a browser shows as a document (Fetch, 2.2.5)."""

_WEIGHT = re.compile(r"[ \t]*q[ \t]*=[ \t]*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)[ \t]*", re.I)


def weights(header: str) -> dict[str, float]:
    """The members of an ``Accept-Encoding`` or ``Accept-Language`` header with their weights.

    Names are in lower case; of a repeated one the first counts. A member without a weight has 1.0,
    one with a malformed weight has 0.0: it is refused rather than preferred (RFC 9110, 12.4.2).
    Linear in the length of the header.
    """
    found: dict[str, float] = {}
    for member in header.split(","):
        name, semicolon, parameter = member.partition(";")
        name = name.strip(" \t").lower()
        if not name:
            continue
        match = _WEIGHT.fullmatch(parameter)
        found.setdefault(name, 1.0 if not semicolon else float(match[1]) if match else 0.0)
    return found

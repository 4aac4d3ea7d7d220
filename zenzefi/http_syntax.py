"""Grammar and names of HTTP and Fetch that several packages need. Pure, and below all of them."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

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


def canonical_path(path: str, errors: str = "surrogateescape") -> str:
    """A raw path as scopes and plugins see it: percent-decoded once, as the upstream does.

    ``errors`` as for ``bytes.decode``: ``strict`` raises ``UnicodeDecodeError`` for bytes that are
    not UTF-8.
    """
    if "%" not in path:
        return path
    return unquote_to_bytes(path).decode("utf-8", errors)


_HAS_READINGS = re.compile(r"[%;]|//")
_PARAMETERS = re.compile(r";[^/]*")
_SLASHES = re.compile(r"//+")
_MOST_DECODINGS = 8


def path_readings(path: str) -> tuple[str, ...]:
    """All paths that servers may read a raw path as; the canonical one is the first.

    Some decode repeatedly, some drop path parameters (``;x``), some merge slashes. A rule that
    protects a path has to hold for each of them.
    """
    if not _HAS_READINGS.search(path):
        return (path,)
    decoded = [canonical_path(path)]
    while len(decoded) < _MOST_DECODINGS and decoded[-1] != canonical_path(decoded[-1]):
        decoded.append(canonical_path(decoded[-1]))
    found = dict.fromkeys(decoded)
    for reading in decoded:
        bare = _PARAMETERS.sub("", reading)
        found.update(dict.fromkeys((bare, _SLASHES.sub("/", reading), _SLASHES.sub("/", bare))))
    return tuple(found)

"""Attribute values with character references: decode, encode and replace them.

HTML sections 13.2.5.72 and following.
"""

from __future__ import annotations

import functools
import html.entities
import re

_REFERENCE = re.compile(r"&(?:#(?:[xX]([0-9a-fA-F]+)|([0-9]+));?|([A-Za-z][A-Za-z0-9]*;?))")
_LONGEST_BARE = max(len(n) for n in html.entities.html5 if not n.endswith(";"))


def decode(value: bytes) -> str:
    """An attribute's value with character references resolved; non-ASCII bytes as surrogates."""
    text = value.decode("ascii", "surrogateescape")
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return _REFERENCE.sub(_resolve, text) if "&" in text else text


def _resolve(found: re.Match[str]) -> str:
    named = found[3]
    if named is None:
        digits = (found[1] or found[2]).lstrip("0")
        if len(digits) > 7:  # beyond U+10FFFF; and int() rejects thousands of digits
            return "\ufffd"
        code = int(digits or "0", 16 if found[1] else 10)
        if code == 0 or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            return "\ufffd"
        if 0x80 <= code <= 0x9F:
            return (
                bytes((code,)).decode("cp1252", "replace") if code not in _NO_CP1252 else chr(code)
            )
        return chr(code)
    if named in html.entities.html5 and named.endswith(";"):
        return html.entities.html5[named]
    for length in range(min(len(named), _LONGEST_BARE), 1, -1):
        known = html.entities.html5.get(named[:length])
        if known is not None:
            after = named[length : length + 1] or found.string[found.end() : found.end() + 1]
            # "&copy=1" in an attribute is not a reference but a query parameter.
            if after == "=" or (after.isascii() and after.isalnum()):
                return found[0]
            return known + named[length:]
    return found[0]


_NO_CP1252 = frozenset((0x81, 0x8D, 0x8F, 0x90, 0x9D))
_SPECIAL = {
    b'"': re.compile('[&"]|[^\x00-\x7f\udc80-\udcff]'),
    b"'": re.compile("[&']|[^\x00-\x7f\udc80-\udcff]"),
    b"": re.compile("[&\"'<>=`\t\n\f\r ]|[^\x00-\x7f\udc80-\udcff]"),
}


def encode(text: str, quote: bytes) -> bytes:
    """``text`` as the value of an attribute in these quotes (empty: unquoted)."""
    return _SPECIAL[quote].sub(_refer, text).encode("ascii", "surrogateescape")


def _refer(found: re.Match[str]) -> str:
    c = found[0]
    return "&amp;" if c == "&" else "&quot;" if c == '"' else f"&#{ord(c)};"


@functools.lru_cache(maxsize=256)
def _beginning(text: str, quote: bytes) -> bytes:
    return encode(text, quote)  # mostly the mount's prefix


def splice(raw: bytes, decoded: str, new: str, quote: bytes) -> bytes:
    """``new`` instead of ``raw``; the unchanged end keeps the spelling of ``raw``."""
    at = raw.find(b"&")
    if at < 0:
        if new.endswith(decoded):
            return _beginning(new[: len(new) - len(decoded)], quote) + raw
        return encode(new, quote)
    tail = decoded[at:]
    # Text before the first "&" has no references; if the rest is unchanged, its bytes stay.
    if new.endswith(tail):
        return encode(new[: len(new) - len(tail)], quote) + raw[at:]
    return encode(new, quote)

"""Escapes of CSS (CSS Syntax 3, sections 2.1 and 4.3.7), read and written."""

from __future__ import annotations

import re

_UNESCAPE = re.compile(rb"\\(?:([0-9a-fA-F]{1,6})(?:\r\n|[ \t\n\r\f])?|(\r\n|[\n\r\f])|([\s\S]?))")
IN_STRING = re.compile(r"[\"'\\\x00-\x1f\x7f]|[^\x00-\x7f\udc80-\udcff]")
"""Characters to escape in a quoted string."""
IN_TOKEN = re.compile(r"[\"'()\\\x00-\x20\x7f]|[^\x00-\x7f\udc80-\udcff]")
"""Characters to escape in ``url()`` without quotes."""


def unescape(raw: bytes) -> str:
    """Text without escapes; bytes beyond ASCII become lone surrogates."""
    if b"\0" in raw:  # section 3.3: every U+0000 is read as U+FFFD
        raw = raw.replace(b"\0", b"\\fffd ")
    if b"\\" not in raw:
        return raw.decode("ascii", "surrogateescape")
    out: list[str] = []
    last = 0
    for found in _UNESCAPE.finditer(raw):
        out.append(raw[last : found.start()].decode("ascii", "surrogateescape"))
        last = found.end()
        if found[1] is not None:
            code = int(found[1], 16)
            bad = code == 0 or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF
            out.append("\ufffd" if bad else chr(code))
        elif found[3] is not None:
            out.append(found[3].decode("ascii", "surrogateescape"))
    out.append(raw[last:].decode("ascii", "surrogateescape"))
    return "".join(out)


def splice_css(raw: bytes, url: str, new: str, special: re.Pattern[str]) -> bytes:
    """``new`` instead of ``raw``; the unchanged end keeps the spelling of ``raw``."""
    at = raw.find(b"\\")
    tail = url[at:] if at >= 0 else ""
    if tail and new.endswith(tail):
        return escape_css(new[: len(new) - len(tail)], special) + raw[at:]
    return escape_css(new, special)


def escape_css(text: str, special: re.Pattern[str]) -> bytes:
    """``text`` with the characters that ``special`` finds escaped."""

    def escape(found: re.Match[str]) -> str:
        c = found[0]
        return "\\" + c if " " <= c < "\x7f" else f"\\{ord(c):x} "

    return special.sub(escape, text).encode("ascii", "surrogateescape")

"""Attribute selectors of style sheets: they match what the author wrote in the document.

Under a prefix ``<a href="/about">`` leaves as ``<a href="/api/v1/proxy/about">``, so that
``a[href="/about"]`` would match nothing. Such a selector becomes
``a:is([href="/about"],[href="/api/v1/proxy/about"])`` (Selectors 4, section 4.2): the first also
finds attributes that are not addresses of the platform, and the specificity stays the same.
``runtime.js`` does the same for selectors in scripts.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from zenzefi.rewriting.css_escapes import IN_STRING, escape_css, unescape

_ESCAPE = rb"\\(?:[0-9a-fA-F]{1,6}(?:\r\n|[ \t\n\r\f])?|[^\n\r\f0-9a-fA-F])"
_SPACE = rb"[ \t\n\r\f]*"
_IDENT = rb"(?:-?(?:[A-Za-z_\x80-\xff]|%s)(?:[-\w\x80-\xff]|%s)*)" % (_ESCAPE, _ESCAPE)
_VALUE = (
    rb'(?:"([^"\\\n\r\f]*(?:\\[\s\S][^"\\\n\r\f]*)*)"'
    rb"|'([^'\\\n\r\f]*(?:\\[\s\S][^'\\\n\r\f]*)*)'|(%s))" % _IDENT
)
_NAMES = rb"href|src|action|formaction|poster|data|background|cite|longdesc"
_SELECTOR = re.compile(
    rb"\[%s((?:(?:\*|%s)?\|)?(?:xlink\\:)?(?i:%s))%s([~|^*]?)=%s%s%s([isIS]?)%s\]"
    % (_SPACE, _IDENT, _NAMES, _SPACE, _SPACE, _VALUE, _SPACE, _SPACE)
)
_UNFINISHED = re.compile(
    rb"\[(?>[^\"'\]\\]+|\\[\s\S]|\"(?>[^\"\\\n]+|\\[\s\S])*\"|'(?>[^'\\\n]+|\\[\s\S])*')*"
    rb"(?:\\|\"(?>[^\"\\\n]+|\\[\s\S])*\\?|'(?>[^'\\\n]+|\\[\s\S])*\\?)?\Z"
)
_MOST = 2048  # bytes: a longer selector is not mapped


def mapped_selector(
    data: bytes, pos: int, map_url: Callable[[str], str], final: bool
) -> tuple[int, bytes] | None:
    """The attribute selector at ``pos``: its end, and the text to write instead, or ``b""``.

    ``None`` if more bytes are needed to know. ``map_url`` is the mapper of the document;
    ``map_url("/")`` is the prefix.
    """
    found = _SELECTOR.match(data, pos, pos + _MOST)
    if found is None:
        cut = not final and len(data) - pos < _MOST and _UNFINISHED.match(data, pos)
        return None if cut else (pos + 1, b"")
    text = unescape(next(filter(None, found.group(3, 4, 5)), b""))
    other = _other(found, text, map_url)
    if not other or not other.startswith(found[0]):
        return found.end(), other
    after = other[len(found[0]) :]
    rest = data[found.end() : found.end() + len(after)]
    if rest == after:  # mapped before
        return found.end(), b""
    if not final and after.startswith(rest):
        return None
    return found.end(), b":is(" + other


def _other(found: re.Match[bytes], text: str, map_url: Callable[[str], str]) -> bytes:
    """The rest after ``:is(``, or another selector if the address is absolute; empty if neither."""
    whole, name, operator, flag = found[0], found[1], found[2], found[6]
    prefix = map_url("/")

    def selector(value: str, by: bytes = operator) -> bytes:
        quoted = b'"' + escape_css(value, IN_STRING) + b'"'
        return b"[" + name + by + b"=" + quoted + (b" " + flag if flag else b"") + b"]"

    # A part of the mount is not a part of what the author wrote. :where() has no specificity.
    unmounted = whole + b":where(:not(" + selector(prefix, b"^") + b"))"
    if operator == b"*":
        if len(text) < 3 or text not in prefix or text == prefix:
            return b""
        start = prefix[:-1] + text if text.startswith("/") else prefix + text
        return unmounted + b"," + selector(start, b"^") + b")"
    if operator == b"^" and text == "/":
        return b""
    mapped = map_url(text)
    if mapped == text:
        return b""
    if "//" in text:  # the page must not name the upstream
        return selector(mapped)
    is_part = operator == b"^" and prefix.startswith(text)
    return (unmounted if is_part else whole) + b"," + selector(mapped) + b")"

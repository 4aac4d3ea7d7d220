"""Small syntaxes with URLs: Refresh and srcset, parsed as browsers do (HTML)."""

from __future__ import annotations

import re
from collections.abc import Callable

from zenzefi.rewriting.css import rewrite_css

_SPACE = " \t\n\f\r"
_REFRESH_TIME = re.compile(
    r"[ \t\n\f\r]*(?:\d[\d.]*|\.[\d.]*)(?:[ \t\n\f\r]+[;,]?|[;,])[ \t\n\f\r]*"
)
_REFRESH_URL = re.compile(r"url[ \t\n\f\r]*=[ \t\n\f\r]*", re.I)
_CANDIDATE = re.compile(r"[ \t\n\f\r,]*([^ \t\n\f\r]+)")
_DESCRIPTORS = re.compile(r"(?>[^,(]+|\([^)]*\)?)*")


def refresh_span(value: str) -> tuple[int, int] | None:
    """The span of the URL in a Refresh value ("shared declarative refresh steps"), or ``None``."""
    match = _REFRESH_TIME.match(value)
    if match is None:
        return None
    start = match.end()
    word = _REFRESH_URL.match(value, start)
    if word:
        start = word.end()
    quote = value[start : start + 1]
    if quote and quote in "\"'":
        end = value.find(quote, start + 1)
        return _trimmed(value, start + 1, end if end >= 0 else len(value))
    return _trimmed(value, start, len(value))


def _trimmed(value: str, start: int, end: int) -> tuple[int, int] | None:
    while start < end and value[start] in _SPACE:
        start += 1
    while end > start and value[end - 1] in _SPACE:
        end -= 1
    return (start, end) if start < end else None


def map_refresh(value: str, map_url: Callable[[str], str]) -> str:
    """A Refresh value with its URL mapped; the rest is unchanged."""
    span = refresh_span(value)
    if span is None:
        return value
    start, end = span
    return value[:start] + map_url(value[start:end]) + value[end:]


def map_srcset(value: str, map_url: Callable[[str], str]) -> str:
    """A srcset with its URLs mapped ("parse a srcset attribute"); the rest is unchanged."""
    out, at = [], 0
    while match := _CANDIDATE.match(value, at):
        start, at_url = match.start(1), at
        bare = match[1].rstrip(",")
        out += [value[at_url:start], map_url(bare), match[1][len(bare) :]]
        at = match.end()
        # Descriptors follow, and a comma ends the candidate. After a URL that ends in a comma there
        # are none; a search for them would read an open bracket to the end, each time.
        if bare == match[1] and (descriptors := _DESCRIPTORS.match(value, at)):
            out.append(descriptors[0])
            at = descriptors.end()
    out.append(value[at:])
    return "".join(out)


def map_animation(attribute: str, value: str, map_url: Callable[[str], str]) -> str:
    """The values, separated by semicolons, that an animation of SVG gives to ``attribute``.

    They are URLs for ``href``, and style values for all others (SVG 1.1, 19.2.7 and 19.2.5).
    """

    def put(part: str) -> str:
        if attribute in ("href", "xlink:href"):
            bare = part.strip(_SPACE)
            new = map_url(bare) if bare else bare
            return part if new == bare else part.replace(bare, new, 1)
        raw = part.encode("utf-8", "surrogateescape")
        return rewrite_css(raw, map_url).decode("utf-8", "surrogateescape")

    if attribute not in ("href", "xlink:href") and "url(" not in value.lower():
        return value
    return ";".join(map(put, value.split(";")))

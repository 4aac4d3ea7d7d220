"""Validators across a rewriting gate (RFC 9110 section 8.8 and 13).

A rewritten body is not the upstream's, byte for byte, so its ETag is a weak one *derived* from the
upstream's: ``W/"<opaque>~z<s|w><key>"``. The letter remembers whether the original was strong, the
key says under which plugins and mount it was made. Mapped back in conditional requests, it lets
the upstream answer 304 without a body.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from zenzefi.http_syntax import DOCUMENT_DESTINATIONS

_ETAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\U0010ffff]*)"')
_DERIVED = re.compile(r'(?:W/)?"([^"]*)~z([sw])([0-9a-f]{8})"')
NEVER = '"~z-outdated"'
"""A tag that no upstream has: what remains of ``If-Match`` when its tag was made otherwise."""


def derive(etag: str, key: str) -> str | None:
    """The weak tag for what was rewritten under ``key`` (8 hex digits); ``None`` if malformed.

    Deriving a derived tag again changes nothing.
    """
    match = _ETAG.fullmatch(etag.strip(" \t"))
    if match is None:
        return None
    if _DERIVED.fullmatch(match[0]):
        return match[0]
    return f'W/"{match[2]}~z{"w" if match[1] else "s"}{key}"'


def original(etag: str, key: str | None = None) -> str | None:
    """The upstream's tag behind a derived one; any other tag as it is.

    ``None`` when ``key`` is given and the tag was derived under another one.
    """
    match = _DERIVED.fullmatch(etag)
    if match is None:
        return etag
    if key is not None and match[3] != key:
        return None
    return f'{"W/" if match[2] == "w" else ""}"{match[1]}"'


def is_derived(etag: str) -> bool:
    """Whether this gate made the tag."""
    return _DERIVED.fullmatch(etag.strip(" \t")) is not None


def _tags(value: str) -> Iterator[str]:
    for match in _ETAG.finditer(value):
        yield match[0]


def if_none_match(value: str, key: str) -> str | None:
    """``If-None-Match`` for the upstream; ``None`` means: leave the header out.

    A tag made under other plugins or another mount is dropped: the stored body is out of date
    even where the upstream's is not.
    """
    if "~z" not in value:
        return value
    kept = [tag for tag in (original(tag, key) for tag in _tags(value)) if tag is not None]
    return ", ".join(dict.fromkeys(kept)) or None


def if_match(value: str, key: str) -> str:
    """``If-Match`` for the upstream; never empty, for the precondition must not vanish."""
    if "~z" not in value:
        return value
    return ", ".join(original(tag, key) or NEVER for tag in _tags(value)) or NEVER


def if_range(value: str) -> str | None:
    """``If-Range`` for the upstream; ``None`` means: leave it *and* ``Range`` out.

    A derived tag belongs to a rewritten body, of which no ranges are served.
    """
    return None if is_derived(value) or value.strip(" \t").startswith("W/") else value


_REWRITABLE_NAME = re.compile(
    r"(?i)\.(?:html?|xhtml|css|m?js|json|webmanifest|xml|svg|rss|atom|m3u8?|mpd|map|php|aspx?|jsp)"
    r"(?:$|[?#])|/(?:$|[?#])"
)
_WHOLE = frozenset(
    [
        *DOCUMENT_DESTINATIONS,
        "style",
        "script",
        "worker",
        "sharedworker",
        "serviceworker",
        "manifest",
        "json",
        "xslt",
        "audioworklet",
        "paintworklet",
    ]
)


def wants_whole(path: str, destination: str | None, if_range_value: str | None) -> bool:
    """Whether ``Range`` should not reach the upstream, because its answer will be rewritten.

    Known before the answer only by what asks for it or by its name; when the guess is wrong the
    upstream's 206 passes untouched (:meth:`zenzefi.rewriting.engine.Engine.must_refetch` tells
    the caller to ask again).
    """
    if if_range_value is not None and if_range(if_range_value) is None:
        return True
    if destination in ("audio", "video", "image", "track", "font"):
        return False
    return destination in _WHOLE or _REWRITABLE_NAME.search(path) is not None

"""Validators across a rewriting gate (RFC 9110 section 8.8 and 13).

A rewritten body is not the upstream's, byte for byte, so its ETag is a weak one *derived* from the
upstream's: ``W/"<opaque>~z<s|w><key>"``. ``s`` or ``w`` is the strength of the original; the
key depends on the plugins and the mount. Conditional requests carry the original tag to the
upstream, so that it can respond with 304 and no body.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from zenzefi.http_syntax import DOCUMENT_DESTINATIONS

_ETAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\U0010ffff]*)"')
_DERIVED = re.compile(r'(?:W/)?"([^"]*)~z([sw])([0-9a-f]{8})"')
NEVER = '"~z-outdated"'
"""A tag that no upstream has, for ``If-Match`` with a tag derived under another key."""


def derive(etag: str, key: str) -> str | None:
    """The weak tag of a body rewritten under ``key`` (8 hex digits); ``None`` if malformed.

    Deriving a derived tag again changes nothing.
    """
    match = _ETAG.fullmatch(etag.strip(" \t"))
    if match is None:
        return None
    if _DERIVED.fullmatch(match[0]):
        return match[0]
    return f'W/"{match[2]}~z{"w" if match[1] else "s"}{key}"'


def original(etag: str, key: str | None = None) -> str | None:
    """The upstream's tag of a derived one; other tags are returned unchanged.

    ``None`` if ``key`` is given and the tag was derived under a different one.
    """
    match = _DERIVED.fullmatch(etag)
    if match is None:
        return etag
    if key is not None and match[3] != key:
        return None
    return f'{"W/" if match[2] == "w" else ""}"{match[1]}"'


def is_derived(etag: str) -> bool:
    """Whether the gate derived the tag."""
    return _DERIVED.fullmatch(etag.strip(" \t")) is not None


def _tags(value: str) -> Iterator[str]:
    for match in _ETAG.finditer(value):
        yield match[0]


def if_none_match(value: str, key: str) -> str | None:
    """``If-None-Match`` for the upstream; ``None`` if the header is to be removed.

    A tag derived under other plugins or another mount is dropped: the stored body is stale even if
    the upstream's is not.
    """
    if "~z" not in value:
        return value
    kept = [tag for tag in (original(tag, key) for tag in _tags(value)) if tag is not None]
    return ", ".join(dict.fromkeys(kept)) or None


def if_match(value: str, key: str) -> str:
    """``If-Match`` for the upstream; never empty, because the precondition must be kept."""
    if "~z" not in value:
        return value
    return ", ".join(original(tag, key) or NEVER for tag in _tags(value)) or NEVER


def if_range(value: str) -> str | None:
    """``If-Range`` for the upstream; ``None`` if it *and* ``Range`` are to be removed.

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
    """Whether to remove ``Range``, because the response will be rewritten.

    Before the response this is a guess by the destination or the path. If a rewritten type comes as
    206 nevertheless, :meth:`zenzefi.rewriting.engine.Engine.must_refetch` tells the caller to
    repeat the request.
    """
    if if_range_value is not None and if_range(if_range_value) is None:
        return True
    if destination in ("audio", "video", "image", "track", "font"):
        return False
    return destination in _WHOLE or _REWRITABLE_NAME.search(path) is not None

"""JSON inside ``<script>``: import maps and speculation rules (HTML sections 8.1.5.2 and 7.6).

If a URL changes, the whole value is serialized again. Invalid JSON passes unchanged: browsers
ignore it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zenzefi.rewriting.edits import Edit, apply
from zenzefi.rewriting.html.references import decode
from zenzefi.rewriting.html.url_patterns import UrlPatterns
from zenzefi.rewriting.scanner import Scanner
from zenzefi.rewriting.url_map import UrlMap

MapUrl = Callable[[str], str]

_DEPTH = 32
_LONGEST = 1 << 18  # bytes of a text that is rewritten as a whole
_MOST_MEMBERS = 8000  # of an import map or of speculation rules
_URL_LIKE = re.compile(r"\.{0,2}/|[A-Za-z][A-Za-z0-9+.\-]*:")


def import_map(map_url: MapUrl, may_change: Callable[[str], bool]) -> WholeText:
    """The text of an import map (:func:`map_import_map`)."""
    return WholeText(lambda text: map_import_map(text, map_url, may_change))


def map_import_map(text: str, map_url: MapUrl, may_change: Callable[[str], bool]) -> str:
    """Map the URLs of an import map.

    ``may_change``: whether the resource at a URL may be rewritten, so that its hash goes.

    A rooted key is kept in addition to its mapped form: sources that import it are not rewritten.
    """
    parsed = _parse(text)
    if parsed is None or _is_deep(parsed):
        return text
    new = dict(parsed)
    imports = parsed.get("imports")
    if isinstance(imports, dict):
        new["imports"] = _map_specifiers(imports, map_url)
    scopes = parsed.get("scopes")
    if isinstance(scopes, dict):
        new["scopes"] = {
            map_url(scope): _map_specifiers(entries, map_url)
            if isinstance(entries, dict)
            else entries
            for scope, entries in scopes.items()
        }
    integrity = parsed.get("integrity")
    if isinstance(integrity, dict):
        new["integrity"] = {
            _map_like(url, map_url): value
            for url, value in integrity.items()
            if not may_change(url)
        }
    return text if new == parsed else _dump(new)


def _map_specifiers(entries: Mapping[str, Any], map_url: MapUrl) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in entries.items():
        new = _map_like(value, map_url) if isinstance(value, str) else value
        out[key] = new
        if _URL_LIKE.match(key):
            mapped = map_url(key)
            if mapped not in entries:
                out[mapped] = new
    return out


def _map_like(url: str, map_url: MapUrl) -> str:
    return map_url(url) if _URL_LIKE.match(url) else url


def map_speculation_rules(text: str, mapper: UrlMap, document_url: str) -> str:
    """Map the addresses and URL patterns of a rule set (HTML, 7.6.1).

    ``document_url`` is the URL that relative addresses are resolved against.
    """
    parsed = _parse(text)
    if parsed is None or _is_deep(parsed):
        return text
    new = _map_rules(parsed, UrlPatterns(mapper, document_url))
    return text if new == parsed else _dump(new)


def _is_deep(value: Any) -> bool:
    """Whether it is nested deeper than any rule, so that recursion could exceed its limit."""
    level: list[Any] = [value]
    for _ in range(_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def _map_rules(value: Any, patterns: UrlPatterns, key: str = "") -> Any:
    if key == "href_matches":  # "parse a document rule predicate", one pattern or a list
        if isinstance(value, list):
            return [_map_rules(v, patterns, key) for v in value]
        return patterns.map(value)
    if isinstance(value, dict):
        return {k: _map_rules(v, patterns, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_map_rules(v, patterns, key) for v in value]
    if isinstance(value, str) and key == "urls":  # "parse a speculation rule"
        return patterns.map_url(value)
    return value


def _parse(text: str) -> dict[str, Any] | None:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _dump(value: Any) -> str:
    # "<" could end the script element or open a comment in it.
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


class ReferencedText:
    """Reads text with character references (a style sheet in SVG) by a scanner of plain text.

    From the first reference on, the text is read as a whole; longer ones than 256 KiB pass.
    """

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self._over = False

    def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
        """See :class:`zenzefi.rewriting.scanner.Scanner`."""
        self._over = self._over or len(window) > _LONGEST
        if b"&" not in window or self._over:
            return self._scanner.scan(window, final)
        if not final:
            return 0, []
        plain = decode(window).encode("utf-8", "surrogatepass")
        _, edits = self._scanner.scan(plain, True)
        if not edits:
            return len(window), []
        new = apply(plain, edits).decode("utf-8", "surrogatepass")
        return len(window), [Edit(0, len(window), _escaped(new))]


def _escaped(text: str) -> bytes:
    return text.replace("&", "&amp;").replace("<", "&lt;").encode("utf-8", "surrogateescape")


class WholeText:
    """A scanner that rewrites a text as a whole, unless it is longer than 256 KiB."""

    def __init__(self, change: Callable[[str], str]) -> None:
        self._change = change
        self._over = False

    def scan(self, window: bytes, final: bool) -> tuple[int, list[Edit]]:
        """See :class:`zenzefi.rewriting.scanner.Scanner`."""
        self._over = self._over or len(window) > _LONGEST or window.count(b":") > _MOST_MEMBERS
        if self._over or not final:
            return len(window) if self._over else 0, []
        text = window.decode("utf-8", "surrogateescape")
        new = self._change(text)
        if new == text:
            return len(window), []
        return len(window), [Edit(0, len(window), new.encode("utf-8", "surrogateescape"))]

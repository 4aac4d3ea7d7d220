"""URL patterns (WHATWG URL Pattern) that match the upstream's addresses, for the browser's view.

Only patterns that are certain to match the upstream are mapped: a pattern with the upstream's
host and port, and a path pattern that begins with a slash. Wildcards for hosts match the gate as
they are.
"""

from __future__ import annotations

import re
from typing import Any

from zenzefi.origin import DEFAULT_PORTS
from zenzefi.rewriting.url_map import UrlMap

# "Parse a constructor string": a scheme that is itself a pattern, then the authority.
_ANY_SCHEME = re.compile(r"(?:\*|http\{s\}\?|http\(s\?\)|http\(\.\*\)|:[A-Za-z_]\w*)://([^/?#]*)")
_ROOTED = re.compile(r"\\/|\{/")
"""Other beginnings of an absolute path ("is an absolute pathname")."""


class UrlPatterns:
    """Maps the patterns of one rule set at ``document_url``."""

    def __init__(self, mapper: UrlMap, document_url: str) -> None:
        self._mapper = mapper
        self._base = document_url
        self._root = mapper.map("/", document_url)
        self._public = mapper.map(f"{mapper.upstream}/", document_url)

    def map_url(self, url: str) -> str:
        """A plain address."""
        return self._mapper.map(url, self._base)

    def map(self, pattern: Any) -> Any:
        """A pattern as a string, or as its components (``URLPatternInit``)."""
        if isinstance(pattern, dict):
            return self._components(pattern)
        return self._string(pattern) if isinstance(pattern, str) else pattern

    def _string(self, pattern: str) -> str:
        if _ROOTED.match(pattern):
            return self._below(pattern)
        found = _ANY_SCHEME.match(pattern)
        if found is None:
            return self._mapper.map(pattern, self._base)
        if found[1].lower() != self._mapper.upstream.authority:
            return pattern
        rest = pattern[found.end() :]
        return self._public[:-1] + (rest if rest[:1] == "/" else "/" + rest)

    def _below(self, path: str) -> str:
        """A path pattern below the mount."""
        if path[:1] == "/":
            return self._mapper.map(path, self._base)
        return self._root[:-1] + path

    def _components(self, init: dict[str, Any]) -> dict[str, Any]:
        new = dict(init)
        upstream = self._mapper.upstream
        hostname, port = init.get("hostname"), init.get("port")
        if isinstance(init.get("baseURL"), str):
            new["baseURL"] = self.map_url(init["baseURL"])
        if isinstance(hostname, str) and hostname.lower() != "*":
            default = "" if DEFAULT_PORTS[upstream.scheme] == upstream.port else str(upstream.port)
            if hostname.lower() != upstream.host or (port or default) not in (default, "*"):
                return new
            scheme, _, rest = self._public.partition("://")
            host, _, number = rest.partition("/")[0].partition(":")
            new["hostname"] = host
            if port is not None or number:
                new["port"] = number
            if isinstance(init.get("protocol"), str):
                new["protocol"] = scheme
        path = init.get("pathname")
        if isinstance(path, str) and (path[:1] == "/" or _ROOTED.match(path)):
            new["pathname"] = self._below(path)
        return new

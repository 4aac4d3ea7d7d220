"""Values of response headers with a syntax: challenges, JSON, addresses for scripts."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from typing import NamedTuple

from zenzefi.origin import Mount
from zenzefi.rewriting.edits import Edit, apply
from zenzefi.rewriting.jsonspans import JsonReader, Path
from zenzefi.rewriting.url_map import UrlMap

SPACE = " \t\n\f\r"
"""White space around a value."""


class View(NamedTuple):
    """The URL and mount of a response, for mapping its headers."""

    url: str
    mapper: UrlMap
    mount: Mount


def map_address(value: str, view: View) -> str:
    """A value that is one address."""
    text = value.strip(SPACE)
    new = view.mapper.map(text, view.url)
    return value if new == text else new


def map_report_to(value: str, view: View) -> str | None:
    """The servers of endpoint groups (Reporting, the Report-To header: a list of JSON objects)."""
    if not view.mount.is_root:
        return None
    return _json_strings(
        value, view, lambda path: path[-1:] == ("url",) and "endpoints" in path[:-1]
    )


def _json_strings(value: str, view: View, is_url: Callable[[Path], bool]) -> str:
    """JSON with the URLs in it mapped, by span; invalid JSON stays from its first error on."""
    data = value.encode("utf-8", "surrogateescape")
    edits = []
    for path, start, end in JsonReader().read(data, True)[1]:
        if is_url(path) and data.startswith(b'"', start):
            with contextlib.suppress(ValueError):
                old = str(json.loads(data[start:end]))
                new = view.mapper.map(old, view.url)
                if new != old:
                    edits.append(Edit(start, end, json.dumps(new).encode()))
    return apply(data, edits).decode("utf-8", "surrogateescape") if edits else value


_ABSOLUTE = re.compile(r"[ \t]*(?:[A-Za-z][A-Za-z0-9+.-]*:)?//")


def map_for_script(value: str, view: View) -> str:
    """An address that a library's script reads and uses.

    At a root mount no runtime maps what the script does with it, so an absolute URL is mapped
    here. A rooted one stays as the script compares it; under a prefix the runtime maps its use.
    """
    if value.lstrip(" \t").startswith("{"):  # HX-Location as an object
        return _json_strings(value, view, lambda path: path == ("path",))
    return map_address(value, view) if _ABSOLUTE.match(value) else value


# RFC 9110, 11.6.1. Other quoted strings are skipped as a whole.
_CHALLENGE = re.compile(
    r"(?:^|,)[ \t]*(?P<scheme>[!#$%&'*+.^_`|~\w-]+)[ \t]+(?=[!#$%&'*+.^_`|~\w-]+[ \t]*=)"
    r"|(?<![\w-])(?P<name>domain|realm|resource_metadata|error_uri|authorization_uri)"
    r"[ \t]*=[ \t]*\"(?P<value>[^\"\\]*)\""
    r"|\"(?>[^\"\\]+|\\.?)*\"?",
    re.I | re.S,
)


def map_challenge(value: str, view: View) -> str:
    """The addresses in challenges of the upstream.

    ``domain`` lists the protected addresses (Digest, RFC 7616, 3.3). ``resource_metadata``
    (RFC 9728, 5.1), ``error_uri`` (RFC 6750, 3) and ``authorization_uri`` are for programs. A
    ``realm`` is opaque, but registries put the address of their tokens into that of Bearer.
    """
    scheme = ""

    def put(match: re.Match[str]) -> str:
        nonlocal scheme
        if match["scheme"]:
            scheme = match["scheme"].lower()
        if match["name"] is None:
            return match[0]
        name, old = match["name"].lower(), match["value"]
        if name == "domain":
            new = _WORDS.sub(lambda word: view.mapper.map(word[0], view.url), old)
        elif name == "realm" and (scheme != "bearer" or not _ABSOLUTE.match(old)):
            new = old
        else:
            new = map_address(old, view)
        return f'{match[0][: -len(old) - 1]}{new}"'

    return _CHALLENGE.sub(put, value)


_WORDS = re.compile(r"[^ \t]+")

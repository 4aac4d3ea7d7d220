"""What becomes of each response header on its way to the browser: one row, one verb, one reason.

Headers that no row names pass as they are. ``Set-Cookie`` and the hop-by-hop headers belong to the
proxy (``zenzefi/proxy``); what a *rewritten* body does to its headers is the engine's second step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from zenzefi.rewriting.api import UrlMap
from zenzefi.rewriting.csp import map_policy
from zenzefi.rewriting.microsyntax import map_refresh, map_srcset
from zenzefi.rewriting.mount import Mount


@dataclass(frozen=True, slots=True)
class View:
    """Where a response was made and where it is seen."""

    url: str
    mapper: UrlMap
    mount: Mount


Mapping = Callable[[str, View], str | None]
"""A header's value -> the browser's view of it; ``None`` drops the header."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    verb: Literal["map", "drop", "keep"]
    how: Mapping
    reason: str


_SPACE = " \t\n\f\r"


def _url(value: str, view: View) -> str:
    text = value.strip(_SPACE)
    new = view.mapper.map(text, view.url)
    return value if new == text else new


def _redirect(value: str, view: View) -> str:
    """An address to go to.

    The upstream is told the gate's host in X-Forwarded-Host, and many frameworks make absolute
    addresses of it without the prefix. Such a one means the upstream; the gate's own pages would be
    a strange place to be sent to.
    """
    text = value.strip(_SPACE)
    public, prefix = str(view.mount.public), view.mount.prefix
    rest = text[len(public) :]
    if (
        prefix
        and text[: len(public)].lower() == public
        and (not rest or rest[0] in "/?#")
        and re.match(re.escape(prefix) + "(?:[/?#]|$)", rest) is None
    ):
        upstream = "/".join(view.url.split("/", 3)[:3])
        return view.mapper.map(upstream + rest, view.url)
    return _url(value, view)


def _refresh(value: str, view: View) -> str:
    return map_refresh(value, lambda url: _redirect(url, view))


_LINK = re.compile(
    r"(?P<before>;[ \t]*(?P<name>anchor|imagesrcset)[ \t]*=[ \t]*\")(?P<value>[^\"]*)(?P<after>\"?)"
    r"|\"(?:[^\"\\]|\\.)*\""
    r"|<(?P<target>[^>]*)>",
    re.I,
)


def _link(value: str, view: View) -> str:
    def put(match: re.Match[str]) -> str:
        if match["target"] is not None:
            return f"<{_url(match['target'], view)}>"
        if match["name"] is None:
            return match[0]
        if match["name"].lower() == "anchor":
            new = _url(match["value"], view)
        else:
            new = map_srcset(match["value"], lambda url: view.mapper.map(url, view.url))
        return match["before"] + new + match["after"]

    return _LINK.sub(put, value)


def _origin(value: str, view: View) -> str:
    """A single origin, ``*`` or ``null`` (CORS)."""
    origins = {str(origin) for origin in view.mapper.origins}
    return str(view.mount.public) if value.strip(_SPACE).lower() in origins else value


def _origins(value: str, view: View) -> str:
    return ",".join(
        part if _origin(part, view) == part else _origin(part, view) for part in value.split(",")
    )


def _quoted_origins(value: str, view: View) -> str:
    """Origins in double quotes (Permissions-Policy), and bare ones (Feature-Policy)."""
    origins = sorted(map(str, view.mapper.origins), key=len, reverse=True)
    pattern = "|".join(map(re.escape, origins))
    return re.sub(
        rf"(?<![\w./:-])(?:{pattern})(?![\w.:/-])", str(view.mount.public), value, flags=re.I
    )


def _quoted_urls(value: str, view: View) -> str:
    """URLs as structured-field strings (Reporting-Endpoints, Speculation-Rules)."""
    return re.sub(r'"([^"\\]*)"', lambda m: f'"{_url(m[1], view)}"', value)


def _report_to(value: str, view: View) -> str | None:
    if not view.mount.is_root:
        return None
    return re.sub(r'("url"\s*:\s*")([^"\\]*)"', lambda m: f'{m[1]}{_url(m[2], view)}"', value)


def _policy(value: str, view: View) -> str:
    return map_policy(value, view.mapper, view.mount, view.url)


def _drop(value: str, view: View) -> None:
    return None


def _keep(value: str, view: View) -> str:
    return value


def _root_only(value: str, view: View) -> str | None:
    return value if view.mount.is_root else None


def _clear_site_data(value: str, view: View) -> str | None:
    """Caches may go; cookies and storage of the gate's origin are not the upstream's alone."""
    kinds = [kind.strip(_SPACE) for kind in value.split(",")]
    allowed = ['"cache"', '"storage"'] if view.mount.is_root else ['"cache"']
    kept = allowed if '"*"' in kinds else [kind for kind in kinds if kind in allowed]
    return ", ".join(kept) or None


TABLE = (
    Row("Location", "map", _redirect, "a redirect must stay under the mount"),
    Row("Content-Location", "map", _url, "it names the resource as the browser must ask for it"),
    Row("Refresh", "map", _refresh, "a redirect with a delay; parsed as browsers parse it"),
    Row("Link", "map", _link, "preloads and rel links are fetched; anchor and imagesrcset too"),
    Row("SourceMap", "map", _url, "developer tools fetch it"),
    Row("X-SourceMap", "map", _url, "the older name of SourceMap"),
    Row("X-Pingback", "map", _url, "an address of the upstream"),
    Row("Content-Security-Policy", "map", _policy, "sources that mean the upstream mean the gate"),
    Row("Content-Security-Policy-Report-Only", "map", _policy, "as the enforced policy"),
    Row("Access-Control-Allow-Origin", "map", _origin, "the upstream's own origin is the gate's"),
    Row("Timing-Allow-Origin", "map", _origins, "as for CORS"),
    Row("Permissions-Policy", "map", _quoted_origins, "origins in its lists"),
    Row("Feature-Policy", "map", _quoted_origins, "the older name of Permissions-Policy"),
    Row("Service-Worker-Allowed", "map", _url, "a scope is a path under the mount"),
    Row("Speculation-Rules", "map", _quoted_urls, "rule sets are fetched"),
    Row("Reporting-Endpoints", "map", _quoted_urls, "reports of this document go to the upstream"),
    Row("Report-To", "map", _report_to, "origin-wide: only where the origin is the upstream's own"),
    Row("NEL", "map", _root_only, "origin-wide: only where the origin is the upstream's own"),
    Row("Clear-Site-Data", "map", _clear_site_data, "the gate's cookies are not the upstream's"),
    Row("Alt-Svc", "drop", _drop, "it would lead the browser around the gate"),
    Row("Strict-Transport-Security", "drop", _drop, "the gate's host has its own TLS policy"),
    Row("Public-Key-Pins", "drop", _drop, "pins of another host's keys would lock the gate out"),
    Row("Public-Key-Pins-Report-Only", "drop", _drop, "as Public-Key-Pins"),
    Row("Expect-CT", "drop", _drop, "a policy of the upstream's host"),
    Row("Origin-Agent-Cluster", "keep", _keep, "harmless at any origin"),
    Row("X-Frame-Options", "keep", _keep, "framing rules stay the upstream's"),
)

_BY_NAME = {row.name.lower(): row for row in TABLE if row.verb != "keep"}

BODY_HEADERS = frozenset(
    ("content-length", "accept-ranges", "content-md5", "digest", "content-digest", "repr-digest")
)
"""They describe the upstream's bytes and don't survive a rewriting; ETag is derived anew."""


def map_headers(headers: Iterable[tuple[str, str]], view: View) -> list[tuple[str, str]]:
    """All headers in their order, each by its row; repeated ones stay repeated."""
    out = []
    for name, value in headers:
        row = _BY_NAME.get(name.lower())
        if row is None:
            out.append((name, value))
            continue
        new = row.how(value, view)
        if new is not None:
            out.append((name, new))
    return out

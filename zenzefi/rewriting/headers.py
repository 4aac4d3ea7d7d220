"""How each response header is mapped for the browser: a table with a verb and a reason per row.

Headers without a row pass unchanged. The proxy (``zenzefi/proxy``) handles ``Set-Cookie`` and the
hop-by-hop headers. The engine changes the headers of a *rewritten* body in a second step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlsplit

from zenzefi.rewriting.csp import map_policy
from zenzefi.rewriting.header_values import (
    SPACE,
    View,
    map_address,
    map_challenge,
    map_for_script,
    map_report_to,
)
from zenzefi.rewriting.microsyntax import map_refresh, map_srcset

Mapping = Callable[[str, View], str | None]
"""Maps a header's value to the browser's view; ``None`` drops the header."""


@dataclass(frozen=True, slots=True)
class HeaderRule:
    """One row of the table."""

    name: str
    verb: Literal["map", "drop", "keep"]
    how: Mapping
    reason: str


def _redirect(value: str, view: View) -> str:
    """A redirect's target.

    In the public view (``UPSTREAM_VIEW``) the upstream knows the gate's host, and many frameworks
    build absolute URLs from it without the prefix. Such a URL means the upstream, not the gate's
    own pages.
    """
    text = value.strip(SPACE)
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
    return map_address(value, view)


def _refresh(value: str, view: View) -> str:
    return map_refresh(value, lambda url: _redirect(url, view))


# RFC 8288, appendix B. An unclosed bracket or quote reaches to the end, as in browsers. If it were
# skipped instead, each of many opening brackets would be searched to the end.
_LINK = re.compile(
    r"(?P<before>;[ \t]*(?P<name>anchor|imagesrcset|integrity)[ \t]*=[ \t]*\")"
    r"(?P<value>[^\"]*)(?P<after>\"?)"
    r"|\"(?>[^\"\\]+|\\.?)*\"?"
    r"|<(?P<target>[^>]*)(?P<close>>?)",
    re.I | re.S,
)


def _link(value: str, view: View) -> str:
    """Links with their addresses mapped.

    ``integrity`` of the upstream's own resources goes under a prefix, as in markup: a preloaded
    style sheet is rewritten, so its hash would not match.
    """
    is_own = False

    def put(match: re.Match[str]) -> str:
        nonlocal is_own
        if match["target"] is not None:
            if not match["close"]:
                return match[0]
            absolute = view.mapper.resolve(match["target"], view.url)
            is_own = absolute is not None and view.mapper.is_own(absolute)
            return f"<{map_address(match['target'], view)}>"
        if match["name"] is None:
            return match[0]
        if match["name"].lower() == "integrity":
            return "" if is_own and not view.mount.is_root else match[0]
        if match["name"].lower() == "anchor":
            new = map_address(match["value"], view)
        else:
            new = map_srcset(match["value"], lambda url: view.mapper.map(url, view.url))
        return match["before"] + new + match["after"]

    return _LINK.sub(put, value)


def _origin(value: str, view: View) -> str:
    """A single origin, ``*`` or ``null`` (CORS)."""
    origins = {str(origin) for origin in view.mapper.origins}
    return str(view.mount.public) if value.strip(SPACE).lower() in origins else value


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
    return re.sub(r'"([^"\\]*)"', lambda m: f'"{map_address(m[1], view)}"', value)


def _policy(value: str, view: View) -> str:
    return map_policy(value, view.mapper, view.mount, view.url)


def _drop(value: str, view: View) -> None:
    return None


def _keep(value: str, view: View) -> str:
    return value


def _root_only(value: str, view: View) -> str | None:
    return value if view.mount.is_root else None


def _clear_site_data(value: str, view: View) -> str | None:
    """Only caches may be cleared: the gate's origin has cookies and storage of other parties."""
    kinds = [kind.strip(SPACE) for kind in value.split(",")]
    allowed = ['"cache"', '"storage"'] if view.mount.is_root else ['"cache"']
    kept = allowed if '"*"' in kinds else [kind for kind in kinds if kind in allowed]
    return ", ".join(kept) or None


_UNESCAPED = "!$&'()*+,/:;=@-._~%"


def _worker_scope(value: str, view: View) -> str | None:
    """The widest scope that a service worker may have (Service Workers, "Update", step 8).

    Browsers resolve the value against the script's URL and use the path. Under a prefix the result
    is the resolved path below the mount. A value for another origin, or for the gate's pages, is
    dropped, and the browser then allows the script's folder.
    """
    if view.mount.is_root:
        return map_address(value, view)
    resolved = view.mapper.resolve(value.strip(SPACE), view.url)
    if not value.strip(SPACE) or resolved is None or not view.mapper.is_own(resolved):
        return None
    path = quote(urlsplit(resolved).path, safe=_UNESCAPED, errors="surrogateescape") or "/"
    segments = path.lower().replace("%2e", ".").split("/")
    if not path.startswith("/") or path.startswith("//") or {".", ".."} & set(segments):
        return None
    mapped = view.mapper.map(path, view.url)
    # Without its slash, the prefix would also be the scope of paths that only begin like it.
    return mapped + "/" if mapped == view.mount.prefix else mapped


_OPENER_POLICY = re.compile(r"\A(\s*)noopener-allow-popups(?=\s*(?:;|$))")


def _opener_policy(value: str, view: View) -> str:
    """The policy of a document for its openers (HTML, 7.1.3).

    Two documents of one origin with one policy stay in one browsing context group. The gate's
    pages are served with ``noopener-allow-popups``, so a document on their origin is not.
    """
    if view.mount.is_root:
        return value
    return _OPENER_POLICY.sub(r"\1same-origin-allow-popups", value)


ORIGIN_WIDE = {
    "NEL": "network errors of every page are reported",
    "Accept-CH": "every request to the origin carries these hints",
    "Critical-CH": "as Accept-CH, and the request is repeated",
    "Set-Login": "the browser's record of a sign-in at this origin (FedCM)",
    "IdP-SignIn-Status": "the older name of Set-Login",
    "Activate-Storage-Access": "access to the origin's cookies from other sites",
    "Observe-Browsing-Topics": "topics of this site in the browser's history",
    "Attribution-Reporting-Register-Source": "reports kept for the origin",
    "Attribution-Reporting-Register-Trigger": "reports kept for the origin",
    "Attribution-Reporting-Register-OS-Source": "reports kept for the origin",
    "Attribution-Reporting-Register-OS-Trigger": "reports kept for the origin",
    "Attribution-Reporting-Info": "reports kept for the origin",
    "Shared-Storage-Write": "storage of the origin",
    "Ad-Auction-Allowed": "auctions in the origin's name",
    "Ad-Auction-Signals": "auctions in the origin's name",
    "Ad-Auction-Result": "auctions in the origin's name",
    "Ad-Auction-Result-Nonce": "auctions in the origin's name",
    "Ad-Auction-Additional-Bid": "auctions in the origin's name",
    "Sec-Private-State-Token": "tokens kept for the origin",
    "Secure-Session-Registration": "a session over all cookies of the origin (DBSC)",
    "Secure-Session-Challenge": "a session over all cookies of the origin (DBSC)",
    "Sec-Session-Registration": "the older name of Secure-Session-Registration",
    "Sec-Session-Challenge": "the older name of Secure-Session-Challenge",
}
"""Headers for the whole origin, with the reason. Under a prefix that is the gate's origin."""

TABLE = (
    HeaderRule("Location", "map", _redirect, "a redirect must stay under the mount"),
    HeaderRule(
        "Content-Location",
        "map",
        map_address,
        "the resource as the browser must ask for it",
    ),
    HeaderRule("Refresh", "map", _refresh, "a redirect with a delay; parsed as browsers parse it"),
    HeaderRule(
        "Link", "map", _link, "preloads and rel links are fetched; anchor and imagesrcset too"
    ),
    HeaderRule("WWW-Authenticate", "map", map_challenge, "addresses for programs, protected paths"),
    *(
        HeaderRule(name, "map", map_for_script, "a script navigates there")
        for name in (
            "HX-Location",
            "HX-Redirect",
            "HX-Push-Url",
            "HX-Replace-Url",
            "Turbo-Location",
            "Turbolinks-Location",
            "X-Inertia-Location",
            "X-Up-Location",
            "X-PJAX-URL",
        )
    ),
    HeaderRule("SourceMap", "map", map_address, "developer tools fetch it"),
    HeaderRule("X-SourceMap", "map", map_address, "the older name of SourceMap"),
    HeaderRule("X-Pingback", "map", map_address, "an address of the upstream"),
    HeaderRule(
        "Content-Security-Policy", "map", _policy, "sources that mean the upstream mean the gate"
    ),
    HeaderRule("Content-Security-Policy-Report-Only", "map", _policy, "as the enforced policy"),
    HeaderRule(
        "Access-Control-Allow-Origin", "map", _origin, "the upstream's own origin is the gate's"
    ),
    HeaderRule("Timing-Allow-Origin", "map", _origins, "as for CORS"),
    HeaderRule("Permissions-Policy", "map", _quoted_origins, "origins in its lists"),
    HeaderRule("Feature-Policy", "map", _quoted_origins, "the older name of Permissions-Policy"),
    HeaderRule(
        "Service-Worker-Allowed", "map", _worker_scope, "a worker's scope stays under the mount"
    ),
    HeaderRule("Speculation-Rules", "map", _quoted_urls, "rule sets are fetched"),
    HeaderRule(
        "Reporting-Endpoints", "map", _quoted_urls, "reports of this document go to the upstream"
    ),
    HeaderRule(
        "Cross-Origin-Opener-Policy", "map", _opener_policy, "never the policy of the gate's pages"
    ),
    HeaderRule(
        "Cross-Origin-Opener-Policy-Report-Only", "keep", _keep, "reports of this document only"
    ),
    HeaderRule("Cross-Origin-Embedder-Policy", "keep", _keep, "what this document may embed"),
    HeaderRule(
        "Cross-Origin-Embedder-Policy-Report-Only", "keep", _keep, "reports of this document only"
    ),
    HeaderRule("Cross-Origin-Resource-Policy", "keep", _keep, "who may embed this response"),
    HeaderRule("Document-Policy", "keep", _keep, "limits on this document"),
    HeaderRule("Document-Isolation-Policy", "keep", _keep, "the process of this document"),
    HeaderRule(
        "Integrity-Policy", "drop", _drop, "integrity goes from resources that may be rewritten"
    ),
    HeaderRule("Integrity-Policy-Report-Only", "drop", _drop, "as the enforced policy"),
    HeaderRule("Supports-Loading-Mode", "keep", _keep, "whether this document may be loaded ahead"),
    HeaderRule(
        "Origin-Trial", "keep", _keep, "features of this document; a token names its origin"
    ),
    HeaderRule("X-DNS-Prefetch-Control", "keep", _keep, "name look-ups of this document"),
    HeaderRule(
        "Origin-Agent-Cluster", "keep", _keep, "the process of a window's documents; no rights"
    ),
    HeaderRule("X-Frame-Options", "keep", _keep, "framing rules stay the upstream's"),
    HeaderRule(
        "Clear-Site-Data", "map", _clear_site_data, "the gate's cookies are not the upstream's"
    ),
    *(
        HeaderRule(
            name, "map", _root_only, f"{reason}: only where the origin is the upstream's own"
        )
        for name, reason in ORIGIN_WIDE.items()
    ),
    HeaderRule(
        "Report-To",
        "map",
        map_report_to,
        "origin-wide: only where the origin is the upstream's own",
    ),
    HeaderRule("Alt-Svc", "drop", _drop, "it would lead the browser around the gate"),
    HeaderRule("Onion-Location", "drop", _drop, "it would lead the browser around the gate"),
    HeaderRule(
        "Strict-Transport-Security", "drop", _drop, "the gate's host has its own TLS policy"
    ),
    HeaderRule(
        "Public-Key-Pins", "drop", _drop, "pins of another host's keys would lock the gate out"
    ),
    HeaderRule("Public-Key-Pins-Report-Only", "drop", _drop, "as Public-Key-Pins"),
    HeaderRule("Expect-CT", "drop", _drop, "a policy of the upstream's host"),
)

_BY_NAME = {row.name.lower(): row for row in TABLE if row.verb != "keep"}


def varying(headers: list[tuple[str, str]], names: Iterable[str]) -> list[tuple[str, str]]:
    """``headers`` with a ``Vary`` for those of ``names`` that no ``Vary`` lists yet."""
    said = {
        part.strip().lower()
        for name, value in headers
        if name.lower() == "vary"
        for part in value.split(",")
    }
    missing = sorted(name for name in names if name.lower() not in said)
    if not missing or "*" in said:
        return headers
    return [*headers, ("Vary", ", ".join(missing))]


BODY_HEADERS = frozenset(
    ("content-length", "accept-ranges", "content-md5", "digest", "content-digest", "repr-digest")
)
"""They describe the upstream's bytes and are removed from rewritten bodies; ETag is derived."""


def map_headers(headers: Iterable[tuple[str, str]], view: View) -> list[tuple[str, str]]:
    """All headers in their order, each mapped by its row; repeated ones stay repeated."""
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

"""The way out for a browser that sends more cookies than the gate reads: it removes them.

The page for :class:`~zenzefi.http.head_limits.HeadersTooLarge` has a form for
:data:`COOKIE_RESET_PATH`, which works without scripts. The limit of the header lines does not apply
to that path. The response has ``Clear-Site-Data: "cookies"`` (W3C Clear Site Data, 3.1), which
browsers follow in secure contexts, and an expired ``Set-Cookie`` for each cookie of the request,
which also works over plain HTTP, but only for cookies with ``Path=/``.

Only a page of the same origin can send the form: another site could otherwise sign its visitors
out. A script of that origin can evict the cookies anyway (:mod:`zenzefi.gate_cookies`).
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from aiohttp import web

from zenzefi.http.errors import CrossSiteRefused
from zenzefi.origin import PROXY_PREFIX, TOKEN_HEADER

COOKIE_RESET_PATH = "/.well-known/zenzefi/clear-cookies"
"""At every origin of the gate (RFC 8615)."""
COOKIE_RESET_PATHS = (COOKIE_RESET_PATH, PROXY_PREFIX + COOKIE_RESET_PATH)
"""The second one is for the desktop client, which sends every path below the prefix."""

_MAX_BYTES = 64 * 1024  # of all Set-Cookie lines: Chromium takes 256 kB of response headers
_MAX_DOMAINS = 3
_NAME = re.compile(r"[!#-+\--:<>-~]+")
# One leading slash, no backslash, no space or control character: no other origin (WHATWG URL, 4.4).
_LOCAL = re.compile(r"/(?![/\\])[!-\[\]-~]{0,16383}")


def return_path_of(request: web.BaseRequest) -> str:
    """Path and query of the request as the browser sees them, for the way back."""
    path = request.raw_path
    if TOKEN_HEADER in request.headers and path.startswith(PROXY_PREFIX + "/"):
        path = path[len(PROXY_PREFIX) :]
    return path if _LOCAL.fullmatch(path) else "/"


def expired_cookies(cookie: str, host: str) -> list[str]:
    """``Set-Cookie`` values that remove the cookies of a ``Cookie`` header, the longest first.

    ``host``: the request's ``Host``. Each cookie is removed for the host alone, for the host as a
    domain, and for the domains above it, because the header does not tell which of them it has.
    """
    sizes: dict[str, int] = {}
    for part in cookie.split(";"):
        name = part.partition("=")[0].strip(" \t")
        if _NAME.fullmatch(name):
            sizes[name] = max(len(part), sizes.get(name, 0))
    domains = ["", *(f"; Domain={domain}" for domain in _domains(host))]
    found: list[str] = []
    total = 0
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        # The prefixes require these attributes (RFC 6265bis, 4.1.3).
        is_prefixed = name.lower().startswith(("__host-", "__secure-", "__http-"))
        secure = "; Secure; HttpOnly" if is_prefixed else ""
        lines = [f"{name}=; Max-Age=0; Path=/{domain}{secure}" for domain in domains]
        total += sum(map(len, lines))
        if total > _MAX_BYTES:
            break
        found += lines
    return found


def _domains(host: str) -> list[str]:
    name = host.rpartition(":")[0] if re.search(r":\d*\Z", host) else host
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        labels = name.lower().split(".")
        return [".".join(labels[at:]) for at in range(len(labels) - 1)][:_MAX_DOMAINS]
    return []


def _require_same_origin(request: web.BaseRequest) -> None:
    """Raises :class:`CrossSiteRefused` unless a page of this origin sent the request."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        if site != "same-origin":
            raise CrossSiteRefused
        return
    try:
        origin = urlsplit(request.headers.get("Origin", ""))
    except ValueError:
        raise CrossSiteRefused from None
    if origin.scheme not in ("http", "https") or origin.netloc.lower() != request.host.lower():
        raise CrossSiteRefused


async def reset(request: web.Request) -> web.StreamResponse:
    """Remove the cookies of this site, then return to the page.

    Raises :class:`CrossSiteRefused`.
    """
    _require_same_origin(request)
    path = (await request.post()).get("path")
    response = web.Response(
        status=303,
        headers={
            "Location": path if isinstance(path, str) and _LOCAL.fullmatch(path) else "/",
            "Cache-Control": "no-store",
        },
    )
    if "Sec-Fetch-Site" in request.headers:
        # Browsers send it in secure contexts. Over plain HTTP, Chromium ignores Clear-Site-Data and
        # also the Set-Cookie lines of such a response (measured).
        response.headers["Clear-Site-Data"] = '"cookies"'
    response.force_close()  # the head of this request may be beyond the limits
    cookie = ";".join(request.headers.getall("Cookie", ()))
    for value in expired_cookies(cookie, request.headers.get("Host", "")):
        response.headers.add("Set-Cookie", value)
    return response


def setup(app: web.Application) -> None:
    """Add the path. It must be added before the routes of the reverse proxy."""
    for path in COOKIE_RESET_PATHS:
        app.router.add_post(path, reset)

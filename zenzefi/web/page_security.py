"""Protection of the pages: checks of requests, form tokens, and response headers.

In a prefix mount proxied scripts share the gate's origin, so a same-origin request is not
necessarily from a page of the gate. Pages are therefore served to navigations only, never to
``fetch()`` or a frame (Fetch Metadata: scripts can't forge ``Sec-Fetch-*``). No script can read the
form token, and every change requires it. :mod:`zenzefi.web.isolation` isolates the pages from
windows of the application.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web

from zenzefi.http.errors import CrossSiteRefused
from zenzefi.keys import Signer

_SALT = 16  # hex characters


def require_navigation(request: web.BaseRequest) -> None:
    """Check that the request is a top-level navigation. Raises ``CrossSiteRefused`` (403).

    Requests without Fetch Metadata pass. If the application's scripts share the origin,
    :func:`zenzefi.web.isolation.refuse_unprotected_browsers` refuses them.
    """
    mode = request.headers.get("Sec-Fetch-Mode")
    destination = request.headers.get("Sec-Fetch-Dest")
    if mode is not None and mode != "navigate":
        raise CrossSiteRefused("This page can only be opened in a browser window, not by a script.")
    if destination is not None and destination != "document":
        raise CrossSiteRefused("This page can't be shown in a frame.")


def refuse_cross_site(request: web.BaseRequest, mount_prefix: str) -> None:
    """Check that a page of the gate sent the request. Raises ``CrossSiteRefused`` (403).

    Fetch Metadata, ``Origin`` (RFC 6454, 7) and ``Referer`` must each be absent or match.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site != "same-origin":
        raise CrossSiteRefused
    own = request.host.lower()
    for name in ("Origin", "Referer"):
        value = request.headers.get(name)
        if value is None:
            continue
        try:
            parts = urlsplit(value)
        except ValueError:
            raise CrossSiteRefused from None
        if parts.scheme not in ("http", "https") or parts.netloc.lower() != own:
            raise CrossSiteRefused
        if parts.path == mount_prefix or parts.path.startswith(mount_prefix + "/"):
            raise CrossSiteRefused


def form_token(signer: Signer, secret: str) -> str:
    """A form token bound to the secret in the cookie; different on every page (BREACH)."""
    salt = secrets.token_hex(_SALT // 2)
    return salt + signer.sign("form", salt, secret)


def is_form_token(signer: Signer, secret: str, token: str) -> bool:
    """Whether the form token was made for this secret."""
    salt, signature = token[:_SALT], token[_SALT:]
    return signer.is_valid(signature, "form", salt, secret)


def page_headers(
    nonce: str, form_targets: Iterable[str], opener_policy: str = "same-origin"
) -> dict[str, str]:
    """Headers of every page.

    ``form_targets`` are origins to which the response to a form may redirect. ``opener_policy`` is
    the page's ``Cross-Origin-Opener-Policy`` (see :mod:`zenzefi.web.isolation`).
    """
    policy = [
        "default-src 'none'",
        f"script-src 'nonce-{nonce}'",
        f"style-src 'nonce-{nonce}'",
        "img-src 'self' data:",
        " ".join(["form-action 'self'", *form_targets]),
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
    return {
        "Content-Security-Policy": "; ".join(policy),
        "X-Frame-Options": "DENY",
        "Cross-Origin-Opener-Policy": opener_policy,
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
        "Cache-Control": "no-store",
        "Vary": "Accept, Accept-Language, Cookie, Sec-Fetch-Mode",
    }


def own_path(value: str, otherwise: str = "/account") -> str:
    """``value`` if it is a path of a page of the gate, else ``otherwise``: no open redirect.

    Accepts only paths that browsers can't parse as another URL: one leading slash, no backslash, no
    control character or space (WHATWG URL, 4.4 strips and converts them), not under the mount.
    """
    if (
        len(value) > 500
        or not value.startswith("/")
        or value.startswith("//")
        or "\\" in value
        or any(not "!" <= sign <= "~" for sign in value)
    ):
        return otherwise
    path = value.partition("?")[0].partition("#")[0]
    known = path == "/" or path.split("/")[1] in ("account", "admin", "legal", "login", "register")
    return value if known and "/." not in path and "%" not in path else otherwise

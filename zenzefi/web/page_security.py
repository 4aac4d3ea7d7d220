"""What protects the pages: which requests they take, and the headers they answer with.

In a prefix mount proxied scripts share the gate's origin, so "same origin" proves little. A page is
therefore given to navigations only (Fetch Metadata: scripts can't forge ``Sec-Fetch-*``), never to
``fetch()`` or a frame, so that no script can read the form token; every change needs that token.
:mod:`zenzefi.web.isolation` keeps the windows of the application away from the pages.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web

from zenzefi.http.errors import CrossSiteRefused

_SALT = 16  # hex characters


def refuse_readers(request: web.BaseRequest) -> None:
    """Pages are for navigations of the top window. Raises ``CrossSiteRefused`` (403) for others.

    Programs, and browsers without fetch metadata, pass here. Where the application's scripts share
    the origin, :func:`zenzefi.web.isolation.refuse_what_no_browser_protects` refuses them.
    """
    mode = request.headers.get("Sec-Fetch-Mode")
    destination = request.headers.get("Sec-Fetch-Dest")
    if mode is not None and mode != "navigate":
        raise CrossSiteRefused("This page is for a browser's window, not for a script.")
    if destination is not None and destination != "document":
        raise CrossSiteRefused("This page can't be shown inside another one.")


def refuse_strangers(request: web.BaseRequest, mount_prefix: str) -> None:
    """A change must come from the gate's own pages. Raises ``CrossSiteRefused`` (403).

    Fetch Metadata, ``Origin`` (RFC 6454, 7) and ``Referer``: each that is there must agree.
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


def form_token(key: bytes, secret: str) -> str:
    """A token bound to the secret in the visitor's cookie; different on every page (BREACH)."""
    salt = secrets.token_hex(_SALT // 2)
    return salt + _signature(key, salt, secret)


def is_form_token(key: bytes, secret: str, token: str) -> bool:
    """Whether the token was made for this visitor."""
    salt, signature = token[:_SALT], token[_SALT:]
    expected = _signature(key, salt, secret)
    return hmac.compare_digest(signature.encode(), expected.encode())


def _signature(key: bytes, salt: str, secret: str) -> str:
    return hmac.new(key, f"form:{salt}:{secret}".encode(), hashlib.sha256).hexdigest()


def page_headers(
    nonce: str, form_targets: Iterable[str], opener_policy: str = "same-origin"
) -> dict[str, str]:
    """The headers of every page.

    ``form_targets`` are origins to which the response to a form may lead. ``opener_policy`` is the
    page's ``Cross-Origin-Opener-Policy`` (see :mod:`zenzefi.web.isolation`).
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
    """``value`` where it is a path of the gate's own pages, else ``otherwise``: no open redirect.

    Only what a browser can't read as another place: one leading slash, no backslash, no control
    character or space (WHATWG URL, 4.4 strips and converts them), and not under the mount.
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
    known = path == "/" or path.split("/")[1] in ("account", "admin", "login", "register")
    return value if known and "/." not in path and "%" not in path else otherwise

"""A browser's opening handshake of a WebSocket: recognised, and refused from another site."""

from __future__ import annotations

from aiohttp import web
from aiohttp.http import HttpVersion11

from zenzefi.http.errors import CrossSiteRefused
from zenzefi.origin import Mount


def is_websocket(request: web.BaseRequest) -> bool:
    """Whether it is an opening handshake (RFC 6455, 4.2.1), to be refused or relayed as such."""
    headers = request.headers
    if headers.get("Upgrade", "").strip().lower() != "websocket":
        return False
    options = ",".join(headers.getall("Connection", ())).lower().split(",")
    return (
        request.method == "GET"
        # RFC 9110, 7.8: an Upgrade in HTTP/1.0 is ignored.
        and request.version == HttpVersion11
        and "upgrade" in (option.strip() for option in options)
    )


def check_origin(request: web.BaseRequest, mount: Mount) -> None:
    """Refuse a handshake that another site's page made with this browser's cookie.

    RFC 6455, 10.2. Browsers always send Origin; a program without one has no cookie to abuse.
    Raises :class:`CrossSiteRefused`.
    """
    origin = request.headers.get("Origin")
    if origin is None or origin.lower() == str(mount.public):
        return
    scheme, _, authority = origin.lower().partition("://")
    if scheme not in ("http", "https") or authority != request.headers.get("Host", "").lower():
        raise CrossSiteRefused

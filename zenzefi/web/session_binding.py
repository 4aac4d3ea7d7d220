"""Binding of pages to the client, for deployments where scripts can write the gate's cookies.

With ``BROWSER_MOUNT=prefix`` or ``PROXY_PORT`` the upstream's scripts run on a host that shares
cookies with the pages. They can evict the session cookie and set another one (ADR 0015). In these
deployments a session is valid only in the network and the browser it is bound to, and form tokens
are bound to both as well. In other deployments this module changes nothing.
"""

from __future__ import annotations

import hashlib

from aiohttp import web

from zenzefi import gate_cookies
from zenzefi.accounts.page_sessions import PageSession
from zenzefi.http.client_address import client_address_of
from zenzefi.http.errors import CrossSiteRefused
from zenzefi.i18n import gettext as _
from zenzefi.settings import SETTINGS, Settings
from zenzefi.settings.own_origin import BrowserMount

CONTINUE_PATH = "/login/continue"
LEAVE_PATH = "/login/leave"
"""Targets of the two buttons that confirm or end a foreign sign-in."""

_AGENT = 300  # characters of User-Agent that a session stores


def shares_cookies(settings: Settings) -> bool:
    """Whether the upstream's scripts run on the host of the gate's pages.

    Cookies are not separated by port (RFC 6265bis, 8.5).
    """
    if settings.browser_mount is BrowserMount.PREFIX:
        return True
    own = settings.own_origin
    return own is not None and own.host == settings.public_origin.host


def is_shared(request: web.Request) -> bool:
    """:func:`shares_cookies` for the gate that received this request."""
    return shares_cookies(request.config_dict[SETTINGS])


def is_of(session: PageSession, request: web.Request) -> bool:
    """Whether the session is bound to the network and the browser of this request."""
    network = gate_cookies.network_of(session.address or "")
    return (network, _browser(session.agent)) == _client(request)


def form_secret(secret: str, request: web.Request) -> str:
    """The secret that form tokens are made from, bound to the client where cookies are shared.

    An attacker who planted the cookie knows its secret and can get form tokens for it, but only in
    the attacker's network.
    """
    if not is_shared(request):
        return secret
    return "|".join((secret, *_client(request)))


def client_mark(request: web.Request) -> str:
    """A mark that binds a sealed cookie to the client, where cookies are shared; else empty."""
    if not is_shared(request):
        return ""
    return hashlib.sha256("|".join(_client(request)).encode()).hexdigest()[:32]


def require_user_activation(request: web.Request) -> None:
    """Check that the user sent the form, where scripts of the same origin could send one.

    ``Sec-Fetch-User`` marks a navigation that followed an activation by the user; scripts can't set
    it (Fetch Metadata, 2.4). Raises :class:`CrossSiteRefused`.
    """
    if not is_shared(request) or "Sec-Fetch-Mode" not in request.headers:
        return
    if request.headers.get("Sec-Fetch-User") != "?1":
        raise CrossSiteRefused(
            _("This form must be sent by pressing its button. Open the page and try again.")
        )


def masked(name: str) -> str:
    """A user name that its owner recognises but that reveals little to others."""
    return name[:1] + "•••" + (name[-1:] if len(name) > 4 else "")


def _client(request: web.Request) -> tuple[str, str]:
    agent = request.headers.get("User-Agent", "")
    return gate_cookies.network_of(client_address_of(request).address), _browser(agent)


def _browser(agent: str | None) -> str:
    return gate_cookies.browser_of((agent or "")[:_AGENT])

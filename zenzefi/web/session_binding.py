"""Binding of pages to the client: for deployments where scripts may write the gate's cookies.

With ``BROWSER_MOUNT=prefix`` or ``PROXY_PORT`` the upstream's scripts run on a host whose cookies
the pages get too. They can evict the session cookie and write another (ADR 0015). There a session
acts for its user only in the network and the browser that it is bound to, and form tokens are made
for them. Anywhere else this costs nothing and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from zenzefi import gate_cookies
from zenzefi.accounts.page_sessions import PageSession
from zenzefi.http.client_address import client_address_of
from zenzefi.http.errors import CrossSiteRefused
from zenzefi.i18n import gettext as _
from zenzefi.settings import SETTINGS, Settings
from zenzefi.settings.own_origin import BrowserMount

if TYPE_CHECKING:
    from zenzefi.web.page import Page, Route

CONTINUE_PATH = "/login/continue"
LEAVE_PATH = "/login/leave"
"""Where the two answers to :func:`ask_who_it_is` go."""

_AGENT = 300  # characters of it that a session keeps


def shares_cookies(settings: Settings) -> bool:
    """Whether the upstream's scripts run on the host of the gate's pages.

    Cookies know no port (RFC 6265bis, 8.5).
    """
    if settings.browser_mount is BrowserMount.PREFIX:
        return True
    own = settings.own_origin
    return own is not None and own.host == settings.public_origin.host


def is_shared(request: web.Request) -> bool:
    """:func:`shares_cookies` of the gate that got this request."""
    return shares_cookies(request.config_dict[SETTINGS])


def is_of(session: PageSession, request: web.Request) -> bool:
    """Whether the session is bound to the network and the browser of this request."""
    network = gate_cookies.network_of(session.address or "")
    return (network, _browser(session.agent)) == _client(request)


def form_secret(secret: str, request: web.Request) -> str:
    """What the form tokens of this visitor are made for.

    A script may know the secret in the cookie, having planted it, and its owner may have got a
    form token for it: from another network.
    """
    if not is_shared(request):
        return secret
    return "|".join((secret, *_client(request)))


def require_press(request: web.Request) -> None:
    """A form is sent by a person where scripts of the same origin could send one.

    ``Sec-Fetch-User`` says that the navigation followed an activation by the user, and no script
    can add it (Fetch Metadata, 2.4). Raises :class:`CrossSiteRefused`.
    """
    if not is_shared(request) or "Sec-Fetch-Mode" not in request.headers:
        return
    if request.headers.get("Sec-Fetch-User") != "?1":
        raise CrossSiteRefused(_("Please press the button yourself, and try again."))


def masked(name: str) -> str:
    """A user name of which a stranger learns little: its owner knows it all the same."""
    return name[:1] + "•••" + (name[-1:] if len(name) > 4 else "")


def _client(request: web.Request) -> tuple[str, str]:
    agent = request.headers.get("User-Agent", "")
    return gate_cookies.network_of(client_address_of(request).address), _browser(agent)


def _browser(agent: str | None) -> str:
    return gate_cookies.browser_of((agent or "")[:_AGENT])


async def ask_who_it_is(page: Page, route: Route) -> web.StreamResponse:
    """Ask before a sign-in that was made in another browser or network is used in this one."""
    if route.method == hdrs.METH_POST and route.path in (CONTINUE_PATH, LEAVE_PATH):
        await page.require_own_form()
        return await route.view(page)
    if not page.is_private:
        raise CrossSiteRefused
    name = masked(page.elsewhere[0][0].username)
    status = 403 if route.method == hdrs.METH_POST else 200
    return page.render("elsewhere.html", status=status, name=name)

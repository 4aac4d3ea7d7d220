"""Keeps windows of the application away from the gate's pages while both share one origin.

Two documents of one origin can read each other as soon as one holds a reference to the other's
window. ``Cross-Origin-Opener-Policy`` cuts such references when a navigation leads from a document
with one policy to a document with another (HTML, 7.1.3.1, "browsing context group switch"). But the
application chooses its own policy, by a header or by a service worker, so it can choose the one of
the gate's page: then nothing is cut.

So a navigation to a page takes two steps with two policies: the gate redirects with ``same-origin``
to the same address with a ticket, and the page there has ``noopener-allow-popups``. The standard
compares policies at every redirect. Whatever policy a document has, it differs from one of the two,
in browsers that know only the older values as well. The ticket is bound to the cookies of this
browser, which scripts can't read, and lasts seconds; the page's script takes it out of the address
bar.

A ticket works once. A service worker below the mount is told the address of every window of the
origin, with the ticket, by ``clients.matchAll({includeUncontrolled: true})`` (Service Workers,
4.3.1); with a ticket in hand the application would reach the page in one step with one policy. When
any script can learn of the address, the request for it has arrived and has spent the ticket.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time

from aiohttp import web

from zenzefi.errors import Forbidden
from zenzefi.http.errors import CrossSiteRefused
from zenzefi.proxy.tickets import SpentEverywhere, SpentInProcess, SpentTickets
from zenzefi.settings import Settings
from zenzefi.settings.own_origin import BrowserMount, is_loopback
from zenzefi.tokens.setup import REDIS_CACHE

TICKET = "isolated"
"""The name of the query parameter that carries the ticket."""

LIFE_SECONDS = 30
REDIRECT_POLICY = "same-origin"
PAGE_POLICY = "noopener-allow-popups"

_MAX_SPENT = 100_000
"""More than a node serves in the life of a ticket: forgetting one early would let it work again."""

SPENT: web.AppKey[SpentTickets] = web.AppKey("isolation_tickets")
"""The tickets that were used, on all nodes."""


class PagesNeedHttps(Forbidden):
    """An account page over plain http beside the application's scripts."""

    code = "pages_need_https"
    default = (
        "With BROWSER_MOUNT=prefix the account pages need HTTPS: set BACKEND_URL to an https:// "
        "address, or give the application an origin of its own (PROXY_HOST or PROXY_PORT)."
    )


class BrowserUnsupported(Forbidden):
    """An account page for a browser that can't keep it apart from the application's scripts."""

    code = "browser_unsupported"
    default = "This page needs a browser that sends Fetch Metadata (Sec-Fetch-* headers)."


class CookiesNeeded(Forbidden):
    """A page for a browser that keeps no cookies."""

    code = "cookies_needed"
    default = "This page needs cookies. Allow them for this site and open the page again."


def shares_origin(settings: Settings) -> bool:
    """Whether browsers run the application's scripts on the origin of the gate's pages."""
    return settings.browser_mount is BrowserMount.PREFIX


def refuse_what_no_browser_protects(request: web.BaseRequest, settings: Settings) -> None:
    """Pages beside the application's scripts need a browser that protects them.

    Raises ``PagesNeedHttps`` where ``BACKEND_URL`` is plain http and not loopback: there browsers
    send no Fetch Metadata and ignore COOP (both need a potentially trustworthy origin). Raises
    ``BrowserUnsupported`` for a request without Fetch Metadata, and ``CrossSiteRefused`` for a page
    that is loaded ahead of a navigation: such a page is shown without asking again.
    """
    public = settings.public_origin
    if public.scheme == "http" and not is_loopback(public.host):
        raise PagesNeedHttps
    if "Sec-Fetch-Mode" not in request.headers or "Sec-Fetch-Dest" not in request.headers:
        raise BrowserUnsupported
    if "Sec-Purpose" in request.headers or "Purpose" in request.headers:
        raise CrossSiteRefused("This page can't be loaded ahead.")


def address(request: web.BaseRequest) -> str:
    """Path and query of the request without the ticket."""
    return str(request.rel_url.without_query_params(TICKET))


def setup(app: web.Application) -> None:
    """Remember spent tickets; nodes share them where the application has Redis."""
    redis_cache = app.get(REDIS_CACHE)
    app[SPENT] = (
        SpentInProcess(_MAX_SPENT)
        if redis_cache is None
        else SpentEverywhere(redis_cache, _MAX_SPENT)
    )


async def is_second_step(
    request: web.BaseRequest, key: bytes, secret: str, spent: SpentTickets
) -> bool:
    """Whether :func:`redirect` sent this browser here a moment ago, for the first time.

    ``secret`` is what only this browser's cookies hold. The ticket is spent by this. Raises
    ``CookiesNeeded`` for a ticket without any cookie: another redirect would not change that.
    """
    ticket = request.query.get(TICKET)
    if ticket is None:
        return False
    if not secret:
        raise CookiesNeeded
    if not _is_ticket(key, secret, ticket):
        return False
    return await spent.spend(f"isolated:{ticket}", 2 * LIFE_SECONDS)


def redirect(request: web.BaseRequest, key: bytes, secret: str) -> web.Response:
    """The first step of a navigation: 303 to the same address with a ticket."""
    stamp = f"{int(time.time())}-{secrets.token_hex(8)}"
    ticket = f"{stamp}-{_signature(key, stamp, secret)}"
    target = request.rel_url.without_query_params(TICKET).extend_query({TICKET: ticket})
    headers = {"Location": str(target), "Cross-Origin-Opener-Policy": REDIRECT_POLICY}
    return web.Response(status=303, headers=headers)


def _is_ticket(key: bytes, secret: str, ticket: str) -> bool:
    stamp, _, signature = ticket.rpartition("-")
    issued = stamp.partition("-")[0]
    if not (issued.isascii() and issued.isdigit() and len(issued) <= 12):
        return False
    expected = _signature(key, stamp, secret)
    is_genuine = hmac.compare_digest(signature.encode(), expected.encode())
    return is_genuine and abs(time.time() - int(issued)) <= LIFE_SECONDS


def _signature(key: bytes, stamp: str, secret: str) -> str:
    message = f"isolated:{stamp}:{secret}".encode("utf-8", "surrogateescape")
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:40]

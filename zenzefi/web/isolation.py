"""Isolation of the pages from windows of the application while both share one origin.

Two documents of one origin can read each other if one has a reference to the other's window.
``Cross-Origin-Opener-Policy`` cuts such references when a navigation leads from a document with one
policy to a document with another (HTML, 7.1.3.1, "browsing context group switch"). But the
application sets its own policy, by a header or a service worker, so it can set the policy of the
gate's page: then the reference is not cut.

A navigation to a page therefore takes two steps with two policies. The gate redirects with
``same-origin`` to the same URL with a ticket, and the page there has ``noopener-allow-popups``.
Browsers compare policies at every redirect. Any policy differs from at least one of the two, also
in browsers that know only the older values. The ticket is bound to cookies of this browser, which
scripts can't read, and is valid for seconds; the script of the page removes it from the address
bar.

A ticket is valid once. A service worker under the mount can read the URL of every window of the
origin, including the ticket, by ``clients.matchAll({includeUncontrolled: true})`` (Service Workers,
4.3.1). With a valid ticket the application would reach the page in one step with one policy. By the
time a script can read the URL, the request has arrived and has spent the ticket.

States of a GET request for a page: *first step* (without a valid ticket; the response is the
redirect), *second step* (valid ticket; the ticket is spent and the view runs). A reload, a bookmark
or a second use of the URL is a first step again. Invariant: a view runs for a GET request only in
the second step, so no response with account data follows a navigation with a single policy.
"""

from __future__ import annotations

import secrets
import time

from aiohttp import web

from zenzefi.errors import Forbidden
from zenzefi.http.errors import CrossSiteRefused
from zenzefi.keys import Signer
from zenzefi.proxy.tickets import SpentTickets, spent_tickets
from zenzefi.settings import Settings
from zenzefi.settings.own_origin import BrowserMount, is_loopback
from zenzefi.tokens.setup import REDIS_CACHE

TICKET = "isolated"
"""Query parameter with the ticket."""

LIFE_SECONDS = 30
REDIRECT_POLICY = "same-origin"
PAGE_POLICY = "noopener-allow-popups"

_MAX_SPENT = 100_000
"""More than a node serves in the lifetime of a ticket: one evicted early would be valid again."""

SPENT: web.AppKey[SpentTickets] = web.AppKey("isolation_tickets")
"""Spent tickets of all nodes."""


class PagesNeedHttps(Forbidden):
    """An account page over plain HTTP, on the origin of the application's scripts."""

    code = "pages_need_https"
    default = (
        "With BROWSER_MOUNT=prefix the account pages need HTTPS: set BACKEND_URL to an https:// "
        "address, or give the application a separate origin (PROXY_HOST or PROXY_PORT)."
    )


class BrowserUnsupported(Forbidden):
    """An account page for a browser that can't isolate it from the application's scripts."""

    code = "browser_unsupported"
    default = "This page needs a browser that sends Fetch Metadata (Sec-Fetch-* headers)."


class CookiesNeeded(Forbidden):
    """A page for a browser that does not store cookies."""

    code = "cookies_needed"
    default = "This page needs cookies. Allow them for this site and open the page again."


def shares_origin(settings: Settings) -> bool:
    """Whether browsers run the application's scripts on the origin of the gate's pages."""
    return settings.browser_mount is BrowserMount.PREFIX


def refuse_unprotected_browsers(request: web.BaseRequest, settings: Settings) -> None:
    """Refuse requests that the browser can't isolate from the application's scripts.

    Raises ``PagesNeedHttps`` if ``BACKEND_URL`` is plain HTTP and not loopback: browsers send Fetch
    Metadata and apply COOP for potentially trustworthy origins only. Raises ``BrowserUnsupported``
    for a request without Fetch Metadata, and ``CrossSiteRefused`` for a prefetched or prerendered
    page: the browser would show it later without another request.
    """
    public = settings.public_origin
    if public.scheme == "http" and not is_loopback(public.host):
        raise PagesNeedHttps
    if "Sec-Fetch-Mode" not in request.headers or "Sec-Fetch-Dest" not in request.headers:
        raise BrowserUnsupported
    if "Sec-Purpose" in request.headers or "Purpose" in request.headers:
        raise CrossSiteRefused("This page can't be prefetched.")


def address(request: web.BaseRequest) -> str:
    """Path and query of the request, without the ticket."""
    return str(request.rel_url.without_query_params(TICKET))


def setup(app: web.Application) -> None:
    """Create the store of spent tickets, shared by all nodes if Redis is configured."""
    app[SPENT] = spent_tickets(app.get(REDIS_CACHE), _MAX_SPENT)


async def is_second_step(
    request: web.BaseRequest, signer: Signer, secret: str, spent: SpentTickets
) -> bool:
    """Whether the request has a valid ticket, which this call spends.

    ``secret`` is from the cookies of the browser. Raises ``CookiesNeeded`` for a ticket without a
    cookie: another redirect would not help.
    """
    ticket = request.query.get(TICKET)
    if ticket is None:
        return False
    if not secret:
        raise CookiesNeeded
    if not _is_ticket(signer, secret, ticket):
        return False
    return await spent.spend(f"isolated:{ticket}", 2 * LIFE_SECONDS)


def redirect(request: web.BaseRequest, signer: Signer, secret: str) -> web.Response:
    """The first step of a navigation: 303 to the same URL with a ticket."""
    stamp = f"{int(time.time())}-{secrets.token_hex(8)}"
    ticket = f"{stamp}-{signer.sign(*_signed(stamp, secret))}"
    target = request.rel_url.without_query_params(TICKET).extend_query({TICKET: ticket})
    headers = {"Location": str(target), "Cross-Origin-Opener-Policy": REDIRECT_POLICY}
    return web.Response(status=303, headers=headers)


def _is_ticket(signer: Signer, secret: str, ticket: str) -> bool:
    stamp, _, signature = ticket.rpartition("-")
    issued = stamp.partition("-")[0]
    if not (issued.isascii() and issued.isdigit() and len(issued) <= 12):
        return False
    is_genuine = signer.is_valid(signature, *_signed(stamp, secret))
    return is_genuine and abs(time.time() - int(issued)) <= LIFE_SECONDS


def _signed(stamp: str, secret: str) -> tuple[str, ...]:
    return "isolated", stamp, secret

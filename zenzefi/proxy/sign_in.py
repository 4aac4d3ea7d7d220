"""Sign-in at the application's origin, which cookies of the gate's host do not reach.

Theory of operation. The browser holds the proxy cookie at the gate's host. Three redirects carry
the sign-in over; none of them is forwarded, and none starts the token's clock::

    gate          303 -> own origin  /.well-known/zenzefi/enter?from=<gate>&path=/x
    own origin    303 -> gate        /.well-known/zenzefi/enter?browser=<mark of a nonce>&path=/x
                  and sets the nonce as an HttpOnly cookie with a life of two minutes
    gate          303 -> own origin  /.well-known/zenzefi/enter?ticket=<ticket>&path=/x
                  where the ticket is made for the proxy cookie's token and for that hash
    own origin    303 -> /x          and sets the proxy cookie

The ticket works once, and only together with the nonce. So a foreign site can't sign a visitor in
with a ticket of its account (login CSRF; RFC 6819, 4.4.1.13 describes it for OAuth), and a
ticket that a script or a log has seen opens nothing elsewhere. Every flow has its own nonce cookie:
flows in several tabs do not disturb each other, and a cookie that a script planted is not used.
"""

from __future__ import annotations

import logging
import re
import secrets
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import web

from zenzefi import gate_cookies
from zenzefi.errors import MethodRefused, NotFound
from zenzefi.http.client_address import client_address_of
from zenzefi.http.error_responses import is_navigation
from zenzefi.http.errors import CrossSiteRefused
from zenzefi.origin import Mount
from zenzefi.proxy.errors import (
    BrowserNotConfirmed,
    OwnOriginMissing,
    OwnOriginRequired,
    SignInLinkInvalid,
)
from zenzefi.proxy.mount import Mounts, parse_forwarded
from zenzefi.proxy.tickets import ENTER_PATH, address, local_path

if TYPE_CHECKING:
    from zenzefi.proxy.gate import Gate

log = logging.getLogger(__name__)

_NONCE_SECONDS = 120  # a ticket lives for 60; the redirects around it take seconds
_MAX_NONCES = 16  # flows of one browser at a time
_MAX_PATH = 4000  # characters; quoted, it must fit into a request line of 8190
_HASH = re.compile(r"[0-9a-f]{64}")
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


def seen_host(request: web.Request) -> str | None:
    """The host in the browser's address bar: as a trusted proxy forwards it, else ``Host``."""
    if client_address_of(request).is_behind_trusted_proxy:
        forwarded = parse_forwarded(request.headers).host
        if forwarded is not None:
            return forwarded
    return request.headers.get("Host")


def redirect_to_sign_in(mounts: Mounts, request: web.Request, path: str) -> web.Response:
    """303 to the sign-in at the application's origin, which ends at ``path`` (raw, with query).

    Raises :class:`OwnOriginMissing` if this browser can't reach one.
    """
    host = seen_host(request)
    own = mounts.own_origin_for(host)
    if own is None:
        raise OwnOriginMissing
    return _to(str(own.public), path, {"from": str(mounts.gate_origin(host))})


def redirect_or_refuse(mounts: Mounts, request: web.Request, path: str) -> web.Response:
    """The response to a cookie under the prefix: a navigation goes to the application's origin.

    Raises :class:`OwnOriginRequired` (401) for anything that is not a GET or HEAD navigation, which
    no redirect would help, and :class:`OwnOriginMissing`.
    """
    own = mounts.own_origin_for(seen_host(request))
    if request.method in ("GET", "HEAD") and is_navigation(request) and len(path) <= _MAX_PATH:
        return redirect_to_sign_in(mounts, request, path)
    where = f" The application's own origin is {own.public}." if own is not None else ""
    raise OwnOriginRequired(OwnOriginRequired.default + where)


class SignIn:
    """The handlers of :data:`ENTER_PATH`, at the gate's host and at the application's origin."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def at_own_origin(self, request: web.Request) -> web.Response:
        """Give this browser a nonce, or redeem the ticket that was made for it.

        Raises :class:`MethodRefused` for any method but GET, which alone may spend a ticket,
        :class:`SignInLinkInvalid`, :class:`BrowserNotConfirmed`, and what validation raises.
        """
        if request.method != "GET":
            raise MethodRefused(("GET",))
        path = _destination(request)
        ticket = request.query.get("ticket")
        return self._begin(request, path) if ticket is None else await self._end(request, path)

    def _begin(self, request: web.Request, path: str) -> web.Response:
        mounts = self._gate.mounts
        back = request.query.get("from", "")
        if not mounts.is_gate_origin(back):
            back = str(mounts.public)
        nonce = secrets.token_urlsafe(32)
        digest = self._gate.tickets.mark(nonce, self._client(request))
        response = _to(back, path, {"browser": digest})
        for name in self._nonces(request)[_MAX_NONCES - 1 :]:
            self._set_nonce(response, name, "", 0)
        self._set_nonce(response, self._nonce_name(request, digest), nonce, _NONCE_SECONDS)
        return response

    async def _end(self, request: web.Request, path: str) -> web.Response:
        # Spent before it is compared: a ticket that reached the wrong browser is worth nothing.
        ticket = await self._gate.tickets.redeem(request.query["ticket"])
        name = self._nonce_name(request, ticket.browser)
        nonce = request.cookies.get(name, "")
        if not self._gate.tickets.is_mark(ticket.browser, nonce, self._client(request)):
            raise BrowserNotConfirmed
        access = await self._gate.token_validator.validate(ticket.token)
        own = self._gate.mounts.own_origin
        location = path if own is None else address(str(own.public), path)
        response = web.Response(status=303, headers={"Location": location, **_HEADERS})
        await self._gate.cookies.sign_in(
            request, response, ticket.token, access, family=ticket.family
        )
        self._set_nonce(response, name, "", 0)
        return response

    async def at_gate(self, request: web.Request) -> web.Response:
        """Issue a ticket for the proxy cookie of this browser and for its nonce.

        For navigations of a window only. Raises :class:`MethodRefused`, :class:`CrossSiteRefused`,
        :class:`SignInLinkInvalid`, :class:`OwnOriginMissing` and what authenticating raises.
        """
        if request.method != "GET":
            raise MethodRefused(("GET",))
        mounts = self._gate.mounts
        if mounts.own_origin is None:
            raise NotFound
        if request.headers.get("Sec-Fetch-Dest", "document") != "document":
            raise CrossSiteRefused
        own = mounts.own_origin_for(seen_host(request))
        if own is None or "from" in request.query:
            # The request was for the application's origin and arrived with another Host.
            log.warning(
                "request for the application's origin has another host: host=%s expected=%s",
                seen_host(request),
                mounts.own_origin.public.authority,
            )
            raise OwnOriginMissing
        digest = request.query.get("browser", "")
        if not _HASH.fullmatch(digest):
            raise SignInLinkInvalid
        credentials = await self._gate.authenticate(request)
        family = None if credentials.sign_in is None else credentials.sign_in.family
        ticket = self._gate.tickets.issue(credentials.token, digest, family)
        return _to(str(own.public), _destination(request), {"ticket": ticket})

    # --- nonce cookies

    def _client(self, request: web.Request) -> str:
        """The network and the browser, where a script could plant the nonce of its author."""
        agent = request.headers.get("User-Agent", "")
        if gate_cookies.is_sealed(self._nonce_name(request, ""), agent):
            return ""
        network = gate_cookies.network_of(client_address_of(request).address)
        return f"{network}|{gate_cookies.browser_of(agent)}"

    def _nonce_name(self, request: web.Request, digest: str) -> str:
        """The stored name of a flow's cookie: sealed in browsers that know the seal."""
        return gate_cookies.stored_name(
            gate_cookies.NONCE + digest[:16],
            self._gate.public,
            request.headers.get("Host", ""),
            request.headers.get("User-Agent", ""),
        )

    def _nonces(self, request: web.Request) -> list[str]:
        start = self._nonce_name(request, "")
        return [name for name in request.cookies if name.startswith(start)]

    def _set_nonce(self, response: web.Response, name: str, value: str, max_age: int) -> None:
        response.set_cookie(
            name,
            value,
            max_age=max_age,
            path="/",
            httponly=True,
            secure=self._gate.public.scheme == "https" or name.startswith(gate_cookies.SEAL),
            # Sent when the gate's redirect arrives: a top-level navigation from another site.
            samesite="Lax",
        )


def own_origin(mounts: Mounts, request: web.Request) -> Mount | None:
    """The application's origin that this browser can reach, for links on pages."""
    return mounts.own_origin_for(seen_host(request))


def _destination(request: web.Request) -> str:
    """The path to end at: of this host, and not the beginning of another sign-in."""
    path = local_path(request.query.get("path", "/"))
    return "/" if path.partition("?")[0] == ENTER_PATH or len(path) > _MAX_PATH else path


def _to(origin: str, path: str, query: dict[str, str]) -> web.Response:
    pairs = [*query.items(), ("path", path)]
    text = "&".join(f"{name}={quote(value, safe='/:')}" for name, value in pairs)
    return web.Response(
        status=303, headers={"Location": f"{origin}{ENTER_PATH}?{text}", **_HEADERS}
    )

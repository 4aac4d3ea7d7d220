"""How often: attempts to sign in, registrations per address, calls per user.

An attempt to prove who one is counts three times (ADR 0020): tightly for the pair of account and
address (three times as widely for the account and the address's network, a /24 or /48), so that
guessing is slow and stops nobody elsewhere; widely for the address, against one
place that tries many accounts; widely for the account, against many places that try one. A browser
that signed in to the account before is counted by its own mark instead (ADR 0010). The wide counts
are given back when the attempt was right. For IPv6, a whole /64 counts as one address, because that
is what one subscriber is normally assigned.

Stands after the way through: what belongs to the upstream has gone by then (its own limit, per
token, is asked where the token is known).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from aiohttp import web
from aiohttp.typedefs import Handler

from zenzefi.errors import RateLimited
from zenzefi.gate_cookies import network_of
from zenzefi.http.body import content_of, fields_of
from zenzefi.http.client_address import client_address_of, rate_limit_network
from zenzefi.observability.metrics import AUTH_ATTEMPTS
from zenzefi.rate_limits.device_cookies import account_mark, mark_of
from zenzefi.rate_limits.limiter import LIMITS, Name, RateLimits, Standing
from zenzefi.settings import SETTINGS

_LOGIN = frozenset(("/api/v1/auth/login", "/login", "/login/code"))
_REGISTER = frozenset(("/api/v1/auth/register", "/register"))
_MAIL = frozenset(("/login/forgotten",))
# Forms with a link from an e-mail are not counted: its 256 random bits can't be guessed, and a
# count by address would let one person stop the links of all their neighbours.
Purpose = Literal["login", "confirm", "mail"]
"""What an attempt is for. Each is counted apart, so that one can't be used to block another."""
_Use = tuple[Name, tuple[str, ...]]
_STANDING = web.RequestKey("rate_limit_standing", Standing)
_WIDE = web.RequestKey("rate_limit_wide", list)


def setup(app: web.Application) -> None:
    """Give the application its limits."""
    limits = app[LIMITS] = RateLimits(app[SETTINGS])

    async def life(_: web.Application) -> AsyncIterator[None]:
        yield
        await limits.close()

    app.cleanup_ctx.append(life)


async def limit_user(request: web.Request, user_id: object) -> None:
    """Count one API call of this user. Raises ``RateLimited``."""
    limits = request.app.get(LIMITS)
    if limits is not None:
        _remember(request, await limits.hit("api", str(user_id)))


async def limit_release(request: web.Request, token_id: object) -> None:
    """Count one release of this token's device: two people could take turns with one token.

    Raises ``RateLimited``.
    """
    limits = request.config_dict.get(LIMITS)
    if limits is not None:
        _remember(request, await limits.hit("release", str(token_id)))


async def limit_token(request: web.Request, token_id: object) -> None:
    """Count one request through the gate under this token. Raises ``RateLimited``."""
    limits = request.app.get(LIMITS)
    if limits is not None and limits.rates("proxy"):
        await limits.hit("proxy", str(token_id))


@web.middleware
async def rate_limits_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Link of the chain: refuses with 429 before any work is done; tells how one stands."""
    if request.method == "POST":
        await _count(request)
    response = await handler(request)
    if response.status in (200, 303):
        await _give_back(request)
    if _STANDING in request and not response.prepared:
        response.headers.update(request[_STANDING].headers())
    return response


async def _count(request: web.Request) -> None:
    resource = request.match_info.route.resource
    path = resource.canonical if resource is not None else ""
    limits = request.app[LIMITS]
    if path in _REGISTER:
        _remember(
            request,
            await limits.hit("register", rate_limit_network(client_address_of(request).address)),
        )
    elif path in _MAIL:
        await limit_sign_in(request, await _account(request), "mail")
    elif path in _LOGIN:
        try:
            await limit_sign_in(request, await _account(request))
        except RateLimited:
            AUTH_ATTEMPTS.labels("limited").inc()
            raise


async def limit_sign_in(request: web.Request, email: str, purpose: Purpose = "login") -> None:
    """Count one attempt to prove to be this account's owner, before it is judged.

    For what asks for a password outside of the sign-in, too (``confirm``). An empty ``email`` is
    an attempt that names no account. Raises ``RateLimited``: by the tightest count first, so that
    what it refuses uses up nothing of the wide ones.
    """
    limits = request.app.get(LIMITS)
    if limits is None:
        return
    narrow, wide = _uses(request, email, purpose)
    for name, who in narrow + wide:
        _remember(request, await limits.hit(name, *who))
    if purpose != "mail":  # there is no right or wrong about asking for an e-mail
        request[_WIDE] = wide


def _uses(request: web.Request, email: str, purpose: Purpose) -> tuple[list[_Use], list[_Use]]:
    """What one attempt counts as: tight limits, and wide ones."""
    where = rate_limit_network(client_address_of(request).address)
    by_address: _Use = ("login_address", (purpose, "address", where))
    if not email:
        return [], [by_address]
    known = mark_of(request, email)
    if known is not None:
        return [("login", (purpose, "browser", known))], []
    account = account_mark(email)
    network = network_of(client_address_of(request).address)
    narrow: list[_Use] = [
        ("login", (purpose, "pair", where, account)),
        # Who rents one network has addresses without end, and must not use up the wide count.
        ("login_network", (purpose, "network", network, account)),
    ]
    by_account: _Use = ("login_account", (purpose, "account", account))
    # Who confirms a password has signed in already: that names one account, not many. And mails to
    # one account have a bound of their own (accounts/links.py).
    wide = {"login": [by_address, by_account], "confirm": [by_account], "mail": [by_address]}
    return narrow, wide[purpose]


async def _give_back(request: web.Request) -> None:
    """The attempt was right: it is not counted against the address or the account."""
    for name, who in request.get(_WIDE, ()):
        await request.app[LIMITS].give_back(name, *who)


@asynccontextmanager
async def code_attempt(request: web.Request, email: str) -> AsyncIterator[None]:
    """One attempt at a code of two-step sign-in: counted before it is judged, inside.

    Given back when the code was right, that is when nothing is raised inside. Raises
    ``RateLimited``.
    """
    limits = request.app.get(LIMITS)
    if limits is None:
        yield
        return
    account, known = account_mark(email), mark_of(request, email)
    uses: list[_Use]
    if known is not None:
        uses = [("code", ("browser", known))]
    else:
        address = client_address_of(request).address
        uses = [
            ("code", ("pair", rate_limit_network(address), account)),
            ("code_network", ("network", network_of(address), account)),
            ("code_account", ("account", account)),
        ]
    try:
        for name, who in uses:
            await limits.hit(name, *who)
    except RateLimited as error:
        seconds = int(error.headers["Retry-After"])
        raise RateLimited(seconds, "Too many wrong codes. Wait a quarter of an hour.") from None
    yield
    for name, who in uses:
        await limits.give_back(name, *who)


async def _account(request: web.Request) -> str:
    """The address that somebody wants to sign in with; empty when it can't be read.

    Read as the handler reads it, whatever the content is labelled as: a second reading would be a
    way around the count.
    """
    if not request.path.startswith("/api/"):
        return (await fields_of(request)).get("email", "")
    try:
        body = json.loads(await content_of(request))
    except (ValueError, RecursionError):  # the handler says what is wrong with it
        return ""
    email = body.get("email") if isinstance(body, dict) else None
    return email if isinstance(email, str) else ""


def _remember(request: web.Request, standing: Standing | None) -> None:
    """Keep the tightest of several."""
    if standing is None:
        return
    before = request.get(_STANDING)
    if before is None or standing.remaining <= before.remaining:
        request[_STANDING] = standing

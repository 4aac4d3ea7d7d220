"""Rate limits for sign-ins, registrations and API calls.

A sign-in attempt is counted in several limits (ADR 0020):

- Per account and address, tightly: guessing is slow, and does not lock the owner out elsewhere.
- Per account and network (/24 or /48), three times as many, for an attacker with many addresses.
- Per address, widely, for one address that tries many accounts.
- Per account, widely, for many addresses that try one account.

A browser with a device cookie of the account has a separate count instead (ADR 0010). A
successful attempt is uncounted from the wide limits. For IPv6, a whole /64 counts as one address.

The middleware runs after the reverse proxy. Proxied requests have a limit per token, which is
checked where the token is known.
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
from zenzefi.http.client_address import client_address_of
from zenzefi.observability.metrics import AUTH_ATTEMPTS
from zenzefi.rate_limits.device_cookies import account_mark, mark_of
from zenzefi.rate_limits.limiter import LIMITS, Name, Quota, RateLimits
from zenzefi.rate_limits.networks import rate_limit_network
from zenzefi.settings import SETTINGS

_LOGIN = frozenset(("/api/v1/auth/login", "/login", "/login/code"))
_REGISTER = frozenset(("/api/v1/auth/register", "/register"))
_MAIL = frozenset(("/login/forgotten",))
# Forms opened from an e-mailed link are not counted: its 256 random bits can't be guessed, and a
# limit per address would let one user block the links of all others behind the same address.
Purpose = Literal["login", "confirm", "mail"]
"""The purpose of an attempt. Purposes have separate counts, so that one can't block another."""
_Use = tuple[Name, tuple[str, ...]]  # a limit and the key under which it counts
_QUOTA = web.RequestKey("rate_limit_quota", Quota)
_WIDE = web.RequestKey("rate_limit_wide", list)


def setup(app: web.Application) -> None:
    """Add the limits to the application."""
    limits = app[LIMITS] = RateLimits(app[SETTINGS])

    async def close_limits(_: web.Application) -> AsyncIterator[None]:
        yield
        await limits.close()

    app.cleanup_ctx.append(close_limits)


async def limit_user(request: web.Request, user_id: object) -> None:
    """Count one API call of this user.

    Raises ``RateLimited``.
    """
    _remember(request, await request.app[LIMITS].hit("api", str(user_id)))


async def limit_api_key(request: web.Request, key_id: object) -> None:
    """Count one API call with this key.

    Raises ``RateLimited``.
    """
    _remember(request, await request.app[LIMITS].hit("api_key", str(key_id)))


async def limit_release(request: web.Request, token_id: object) -> None:
    """Count one release of this token's device; otherwise two users could take turns with a token.

    Raises ``RateLimited``.
    """
    _remember(request, await request.app[LIMITS].hit("release", str(token_id)))


async def limit_token(limits: RateLimits, token_id: object) -> None:
    """Count one proxied request with this token.

    Raises ``RateLimited``.
    """
    if limits.rates("proxy"):
        await limits.hit("proxy", str(token_id))


@web.middleware
async def rate_limits_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Reject requests beyond a limit with 429 before other work, and add the RateLimit headers."""
    if request.method == "POST":
        await _count(request)
    response = await handler(request)
    if response.status in (200, 303):
        await _give_back(request)
    if _QUOTA in request and not response.prepared:
        response.headers.update(request[_QUOTA].headers())
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
    """Count one attempt to authenticate with this account, before the password is checked.

    ``purpose`` is ``confirm`` where a signed-in user is asked for the password again. An empty
    ``email`` is an attempt without an account. The tight limits are counted first, so that an
    attempt they reject does not count in the wide ones.

    Raises ``RateLimited``.
    """
    limits = request.app[LIMITS]
    narrow, wide = _uses(request, email, purpose)
    for name, key in narrow + wide:
        _remember(request, await limits.hit(name, *key))
    if purpose != "mail":  # a request for an e-mail neither succeeds nor fails
        request[_WIDE] = wide


def _uses(request: web.Request, email: str, purpose: Purpose) -> tuple[list[_Use], list[_Use]]:
    """The tight limits and the wide limits in which one attempt is counted."""
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
        # An attacker with a whole network must not use up the wide limit of the account.
        ("login_network", (purpose, "network", network, account)),
    ]
    by_account: _Use = ("login_account", (purpose, "account", account))
    # A confirmation is for the session's account, so it can't try many accounts. E-mails to one
    # account have their own limit (accounts/links.py).
    wide = {"login": [by_address, by_account], "confirm": [by_account], "mail": [by_address]}
    return narrow, wide[purpose]


async def _give_back(request: web.Request) -> None:
    """Uncount a successful attempt from the limits of the address and of the account."""
    for name, key in request.get(_WIDE, ()):
        await request.app[LIMITS].give_back(name, *key)


@asynccontextmanager
async def code_attempt(request: web.Request, email: str) -> AsyncIterator[None]:
    """Count one attempt at a code of two-step sign-in; the code is checked inside the context.

    The attempt is uncounted if the context exits without an exception.

    Raises ``RateLimited``.
    """
    limits = request.app[LIMITS]
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
        for name, key in uses:
            await limits.hit(name, *key)
    except RateLimited as error:
        seconds = int(error.headers["Retry-After"])
        raise RateLimited(seconds, "Too many wrong codes. Wait 15 minutes.") from None
    yield
    for name, key in uses:
        await limits.give_back(name, *key)


async def _account(request: web.Request) -> str:
    """The e-mail address of the attempt; empty if the body can't be parsed.

    The body is parsed as the handler parses it, whatever its Content-Type: a difference would be a
    way around the limit.
    """
    if not request.path.startswith("/api/"):
        return (await fields_of(request)).get("email", "")
    try:
        body = json.loads(await content_of(request))
    except (ValueError, RecursionError):  # the handler reports the error
        return ""
    email = body.get("email") if isinstance(body, dict) else None
    return email if isinstance(email, str) else ""


def _remember(request: web.Request, quota: Quota | None) -> None:
    """Keep the quota with the fewest uses left, for the response's headers."""
    if quota is None:
        return
    before = request.get(_QUOTA)
    if before is None or quota.remaining <= before.remaining:
        request[_QUOTA] = quota

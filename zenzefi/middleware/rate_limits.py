"""How often: sign-ins per address and per account, registrations per address, calls per user.

Of IPv6 a whole /64 counts as one address.

Stands after the way through: what belongs to the upstream has gone by then (its own limit, per
token, is asked where the token is known).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from zenzefi.config import SETTINGS
from zenzefi.errors import RateLimited
from zenzefi.middleware.content import content_of, form_of
from zenzefi.middleware.known_browsers import account_mark, mark_of
from zenzefi.middleware.peer import peer_of, subscriber
from zenzefi.ops.limits import LIMITS, RateLimits, Standing
from zenzefi.ops.metrics import AUTH_ATTEMPTS

_LOGIN = frozenset(("/api/v1/auth/login", "/login", "/login/code"))
_REGISTER = frozenset(("/api/v1/auth/register", "/register"))
# Each sends a mail to somebody or tries a secret, so they count like sign-ins.
_LIKE_LOGIN = frozenset(("/login/forgotten", "/login/reset", "/register/confirm"))
_STANDING = web.RequestKey("rate_limit_standing", Standing)


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
    if _STANDING in request and not response.prepared:
        response.headers.update(request[_STANDING].headers())
    return response


async def _count(request: web.Request) -> None:
    resource = request.match_info.route.resource
    path = resource.canonical if resource is not None else ""
    limits = request.app[LIMITS]
    if path in _REGISTER:
        _remember(request, await limits.hit("register", subscriber(peer_of(request).address)))
    elif path in _LOGIN or path in _LIKE_LOGIN:
        try:
            await limit_sign_in(request, await _account(request))
        except RateLimited:
            AUTH_ATTEMPTS.labels("limited").inc()
            raise


async def limit_sign_in(request: web.Request, email: str) -> None:
    """Count one attempt to prove to be this account's owner, by where it comes from and by account.

    For what asks for a password outside of the sign-in, too. Raises ``RateLimited``.
    """
    limits = request.app.get(LIMITS)
    if limits is None or not limits.rates("login"):
        return
    where = subscriber(peer_of(request).address)
    _remember(request, await limits.hit("login", "address", where))
    if not email:
        return
    known = mark_of(request, email)
    who = ("account", account_mark(email)) if known is None else ("browser", known)
    _remember(request, await limits.hit("login", *who))


async def _account(request: web.Request) -> str:
    """The address that somebody wants to sign in with; empty when it can't be read."""
    # The API takes JSON without a label too, which must be no way around.
    if hdrs.CONTENT_TYPE not in request.headers or request.content_type.endswith("json"):
        try:
            body = json.loads(await content_of(request))
        except (ValueError, RecursionError):  # the handler says what is wrong with it
            return ""
        email = body.get("email") if isinstance(body, dict) else None
    else:
        email = (await form_of(request)).get("email")
    return email if isinstance(email, str) else ""


def _remember(request: web.Request, standing: Standing | None) -> None:
    """Keep the tightest of several."""
    if standing is None:
        return
    before = request.get(_STANDING)
    if before is None or standing.remaining <= before.remaining:
        request[_STANDING] = standing

"""The gate's own paths under ``/api/v1/proxy``: status, authenticate, logout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from aiohttp import web

from zenzefi.api.models import Body, Output, Time
from zenzefi.api.routing import Routes
from zenzefi.http.client_address import client_address_of
from zenzefi.http.errors import CrossSiteRefused
from zenzefi.http.target import Target
from zenzefi.http.validation import TARGET
from zenzefi.origin import PROXY_PREFIX
from zenzefi.proxy.login_csrf import require_same_origin
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.errors import (
    SignInRequired,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
    TokenRejected,
    TokenRevoked,
)

if TYPE_CHECKING:
    from zenzefi.proxy.gate import Gate


class Authenticate(Body):
    """The token to trade for the proxy cookie."""

    token: str
    """The access token's value."""


class Life(Output):
    """How far a token is in its life."""

    is_activated: bool
    """Whether the first proxied request has been made."""
    expires_at: Time | None
    """`activated_at` plus `duration_hours`; `null` while it is unused."""
    time_remaining_seconds: int
    """Seconds left; the whole duration while it is unused."""


class TokenStatus(Life):
    """The access that a token grants, and its duration."""

    connected: Literal[True]
    """Always true."""
    user_id: UUID
    """The user's identifier."""
    token_id: UUID
    """The access token's identifier."""
    duration_hours: int
    """How long it lasts from its first use, in hours."""
    scope: str
    """The name of the scope: which paths the token opens."""
    status: Literal["active", "ready"]
    """`active` once the first proxied request was made, `ready` before."""


class Authenticated(Life):
    """The proxy cookie is set."""

    authenticated: Literal[True]
    """Always true."""
    user_id: UUID
    """The user's identifier."""
    token_id: UUID
    """The access token's identifier."""
    cookie_set: Literal[True]
    """Always true."""
    cookie_max_age: int
    """The cookie's life in seconds."""


class LoggedOut(Output):
    """The proxy cookie is cleared."""

    message: str
    """The result as a sentence."""
    cookie_cleared: Literal[True]
    """Always true."""


def _life(access: TokenAccess, seconds_left: int) -> dict[str, Any]:
    return {
        "is_activated": access.is_activated,
        "expires_at": access.expires_at,
        "time_remaining_seconds": seconds_left,
    }


class Views:
    """Handlers of the gate's own paths under ``/api/v1/proxy``."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def routes(self) -> Routes:
        """The calls, mounted before the catch-all route of the reverse proxy."""
        table = Routes("Proxy")
        table.get(
            "/proxy/status",
            security="access_token",
            errors=(TokenMissing, SignInRequired, TokenRejected, TokenExpired, TokenRevoked),
        )(self.status)
        table.post(
            "/proxy/authenticate",
            errors=(TokenInvalid, TokenExpired, TokenRevoked, CrossSiteRefused),
            described=Authenticated,
        )(self.authenticate)
        table.delete("/proxy/logout", described=LoggedOut)(self.logout)
        return table

    async def status(self, request: web.Request) -> TokenStatus:
        """The state of an access token.

        Never activates the token and does not need a device ID.
        """
        access = (await self._gate.authenticate(request)).access
        return TokenStatus(
            connected=True,
            user_id=access.user_id,
            token_id=access.token_id,
            duration_hours=access.duration_hours,
            scope=access.scope,
            status="active" if access.is_activated else "ready",
            **_life(access, self._gate.token_validator.seconds_left(access)),
        )

    async def authenticate(self, request: web.Request, body: Authenticate) -> web.StreamResponse:
        """Exchange a token for the proxy cookie.

        Never activates the token. Browsers may call it from the gate's own origin only: another
        site could sign its visitors in with its own token.
        """
        require_same_origin(
            request, self._gate.public, is_shared=self._gate.mounts.browsers_at_prefix
        )
        access = await self._gate.token_validator.validate(
            body.token, client_address_of(request).address
        )
        response = web.Response(
            content_type="application/json", headers={"Cache-Control": "no-store"}
        )
        max_age = await self._gate.cookies.sign_in(request, response, body.token, access)
        response.text = Authenticated(
            authenticated=True,
            user_id=access.user_id,
            token_id=access.token_id,
            cookie_set=True,
            cookie_max_age=max_age,
            **_life(access, max_age),
        ).model_dump_json()
        return response

    async def logout(self, request: web.Request) -> web.StreamResponse:
        """End this browser's sign-in, at both origins, and clear the proxy cookie."""
        body = LoggedOut(message="Logged out", cookie_cleared=True)
        response = web.Response(text=body.model_dump_json(), content_type="application/json")
        await self._gate.cookies.sign_out(request, response)
        return response

    async def add_slash(self, request: web.Request) -> web.Response:
        """The mount's root is a folder: without its slash relative references would miss it."""
        target = Target(f"{PROXY_PREFIX}/", request[TARGET].query)  # the query's bytes as they came
        return web.Response(status=308, headers={"Location": target.raw})

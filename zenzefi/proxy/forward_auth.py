"""``GET /api/v1/auth/verify``: the check for a web server that serves the bytes itself.

nginx (``auth_request``), Traefik (ForwardAuth) and Caddy (``forward_auth``) ask here about each
request of theirs and pass it on when they get a 2xx. Asking stands for using: an allowed request
activates the token, as a proxied one does.
"""

from __future__ import annotations

from aiohttp import web

from zenzefi.api.routing import Routes
from zenzefi.errors import GateError, RateLimited
from zenzefi.http.client_address import client_address_of
from zenzefi.http.errors import AmbiguousRequest
from zenzefi.http.request_id import request_id_of
from zenzefi.http.target import Target, check_path, split_target, under_prefix
from zenzefi.origin import DEVICE_HEADER, PROXY_PREFIX
from zenzefi.proxy.admission import resolve
from zenzefi.proxy.gate import Gate
from zenzefi.tokens.errors import (
    DeviceConflict,
    DeviceRequired,
    InvalidDeviceId,
    ScopeRefused,
    SignInRequired,
    TokenExpired,
    TokenMissing,
    TokenRejected,
    TokenRevoked,
)

PATH = "/api/v1/auth/verify"
TARGET_HEADERS = ("X-Forwarded-Uri", "X-Original-URI")
"""Headers that name the target of the original request."""
_METHOD_HEADERS = ("X-Forwarded-Method", "X-Original-Method")


def is_forward_auth(request: web.Request, path: str) -> bool:
    """Whether a trusted proxy checks another request with this one.

    Caddy and Traefik send the host of the original request with it, which may be the application's
    own origin. There ``path`` alone would be a path of the application.
    """
    return (
        path == PATH
        and client_address_of(request).is_behind_trusted_proxy
        and any(name in request.headers for name in TARGET_HEADERS)
    )


def forwarded_target(request: web.Request) -> Target | None:
    """The target of the original request; ``None`` without a header that names it.

    Only a trusted proxy may name it: a client could name a path that the scope covers and then
    use another. Raises :class:`AmbiguousRequest` for a target that could mean two things.
    """
    if not client_address_of(request).is_behind_trusted_proxy:
        return None
    named = [value for name in TARGET_HEADERS for value in request.headers.getall(name, ())]
    if not named:
        return None
    if len(set(named)) > 1:
        # RFC 9110 section 5.3: neither is a list, so a second value has no defined meaning.
        raise AmbiguousRequest("The original target was named twice, and differently.")
    target = split_target(named[0], None)
    check_path(target.path)
    return under_prefix(target, PROXY_PREFIX) or target


def forwarded_method(request: web.Request) -> str:
    """The method that the asking server was asked with; GET where no trusted proxy says.

    Raises :class:`AmbiguousRequest` where two are named.
    """
    if not client_address_of(request).is_behind_trusted_proxy:
        return "GET"
    named = {value for name in _METHOD_HEADERS for value in request.headers.getall(name, ())}
    if len(named) > 1:
        raise AmbiguousRequest("The original method was named twice, and differently.")
    return named.pop() if named else "GET"


def routes(gate: Gate) -> Routes:
    """The call, for the table of the API."""
    table = Routes("Proxy")

    @table.get(
        "/auth/verify",
        status=204,
        security="access_token",
        errors=(
            TokenMissing,
            SignInRequired,
            TokenRejected,
            TokenExpired,
            TokenRevoked,
            ScopeRefused,
            InvalidDeviceId,
            DeviceRequired,
            DeviceConflict,
            RateLimited,
        ),
        headers=(DEVICE_HEADER, *TARGET_HEADERS, *_METHOD_HEADERS),
    )
    async def verify(request: web.Request) -> web.StreamResponse:
        """Forward authentication: check whether a request may pass.

        For web servers in front of the application (nginx auth_request, Traefik ForwardAuth, Caddy
        forward_auth). The path is accepted from trusted proxies only; without one, a token whose
        scope is not "full" is refused. An allowed request activates the token.
        """
        try:
            requested = resolve(
                request, forwarded_target(request), method=forwarded_method(request)
            )
            access = await gate.admission.authorize(requested)
        except GateError as error:
            # Never an HTML page, or the 204 that ends an EventSource: the calling server takes any
            # 2xx as permission.
            body = error.body(request_id_of(request))
            headers = {"Cache-Control": "no-store", **error.headers}
            return web.json_response(body, status=error.status, headers=headers)
        return web.Response(
            status=204,
            headers={
                "X-User-Id": str(access.user_id),
                "X-Token-Id": str(access.token_id),
                "Cache-Control": "no-store",
            },
        )

    return table

"""The gate's own paths of the way through: status, authenticate, logout, sign-in by ticket."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from zenzefi.errors import Invalid
from zenzefi.middleware.peer import peer_of
from zenzefi.proxy.cookies import ACCESS_COOKIE
from zenzefi.proxy.mount import PREFIX
from zenzefi.tokens.access import Access

if TYPE_CHECKING:
    from zenzefi.proxy.gate import Gate


class Authenticate(BaseModel):
    """The body of ``POST /proxy/authenticate``."""

    model_config = ConfigDict(extra="forbid")

    token: str


def set_access_cookie(
    response: web.StreamResponse, token: str, access: Access, *, is_secure: bool
) -> int:
    """Put the proxy cookie on a response; returns its life in whole seconds.

    HttpOnly and Lax: no script reads it, no other site's form or fetch carries it.
    """
    max_age = max(0, int(access.seconds_left()))
    response.set_cookie(
        ACCESS_COOKIE,
        token,
        max_age=max_age,
        path="/",
        httponly=True,
        secure=is_secure,
        samesite="Lax",
    )
    return max_age


def _times(access: Access) -> dict[str, object]:
    return {
        "is_activated": access.is_activated,
        "expires_at": access.expires_at.isoformat() if access.expires_at else None,
        "time_remaining_seconds": max(0, int(access.seconds_left())),
    }


class Views:
    """Handlers of the gate's own paths under ``/api/v1/proxy``."""

    def __init__(self, gate: Gate, *, is_secure: bool) -> None:
        self._gate = gate
        self._is_secure = is_secure

    def routes(self) -> list[web.RouteDef]:
        """The routes, before the catch-all that is the way through."""
        return [
            web.get(f"{PREFIX}/status", self.status, allow_head=False),
            web.post(f"{PREFIX}/authenticate", self.authenticate),
            web.delete(f"{PREFIX}/logout", self.logout),
            web.get(PREFIX, self.add_slash),
        ]

    async def status(self, request: web.Request) -> web.Response:
        """What this token grants, and how long; never activates, needs no device id."""
        access, _, _ = await self._gate.authenticate(request)
        body = {
            "connected": True,
            "user_id": str(access.user_id),
            "token_id": str(access.token_id),
            "duration_hours": access.duration_hours,
            "scope": access.scope,
            "status": "active" if access.is_activated else "ready",
            **_times(access),
        }
        return web.json_response(body, headers={"Cache-Control": "no-store"})

    async def authenticate(self, request: web.Request) -> web.Response:
        """Trade a token for the proxy cookie; never activates."""
        try:
            form = Authenticate.model_validate(json.loads(await request.read()))
        except ValidationError as error:
            raise Invalid(
                [
                    {
                        "type": problem["type"],
                        "loc": ["body", *problem["loc"]],
                        "msg": problem["msg"],
                        "input": None,  # it may be the secret itself
                    }
                    for problem in error.errors()
                ]
            ) from None
        except ValueError:
            raise Invalid.field(
                "body", type="json_invalid", msg="The body is not valid JSON"
            ) from None
        access = await self._gate.gatekeeper.validate(form.token, peer_of(request).address)
        response = web.json_response(headers={"Cache-Control": "no-store"}, data={})
        max_age = set_access_cookie(response, form.token, access, is_secure=self._is_secure)
        response.text = json.dumps(
            {
                "authenticated": True,
                "user_id": str(access.user_id),
                "token_id": str(access.token_id),
                "cookie_set": True,
                "cookie_max_age": max_age,
                **_times(access),
            }
        )
        return response

    async def logout(self, request: web.Request) -> web.Response:
        """Forget the proxy cookie."""
        response = web.json_response({"message": "Logged out", "cookie_cleared": True})
        response.del_cookie(ACCESS_COOKIE, path="/")
        return response

    async def add_slash(self, request: web.Request) -> web.Response:
        """The mount's root is a folder: without its slash relative references would miss it."""
        query = f"?{request.query_string}" if request.query_string else ""
        return web.Response(status=308, headers={"Location": f"{PREFIX}/{query}"})

    async def enter(self, request: web.Request) -> web.Response:
        """Redeem a ticket at the upstream's own origin: sets the cookie there and goes on."""
        ticket = await self._gate.tickets.redeem(request.query.get("ticket", ""))
        access = await self._gate.gatekeeper.validate(ticket.token)
        response = web.Response(
            status=303,
            headers={
                "Location": ticket.path,
                "Cache-Control": "no-store",
                "Referrer-Policy": "no-referrer",
            },
        )
        set_access_cookie(response, ticket.token, access, is_secure=self._is_secure)
        return response

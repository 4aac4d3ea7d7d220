"""Every request has an ID: the client's if it is acceptable, else a new one; it is sent back."""

from __future__ import annotations

import re
import secrets

from aiohttp import web
from aiohttp.typedefs import Handler

REQUEST_ID = web.RequestKey("request_id", str)
HEADER = "X-Request-ID"

# The client's ID is written to logs and responses: only characters without a meaning in either.
_ACCEPTABLE = re.compile(r"[A-Za-z0-9_.:-]{8,128}")


def offered_id(request: web.BaseRequest) -> str | None:
    """The ID that the client has chosen, if it is acceptable."""
    offered = request.headers.get(HEADER)
    return offered if offered is not None and _ACCEPTABLE.fullmatch(offered) else None


def request_id_of(request: web.BaseRequest) -> str:
    """The ID of this request; assigns one before the middleware has run."""
    if REQUEST_ID in request:
        return request[REQUEST_ID]
    assigned = request[REQUEST_ID] = offered_id(request) or secrets.token_hex(8)
    return assigned


async def _add_id(request: web.Request, response: web.StreamResponse) -> None:
    response.headers[HEADER] = request_id_of(request)


def setup(app: web.Application) -> None:
    """Send the ID with every response, including streamed and upgraded ones."""
    app.on_response_prepare.append(_add_id)


@web.middleware
async def request_id_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """First middleware: assign the ID, for logs and responses."""
    request_id_of(request)
    return await handler(request)

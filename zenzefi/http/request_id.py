"""Every request has an id: taken from a trustworthy caller or made here, and sent back."""

from __future__ import annotations

import re
import secrets

from aiohttp import web
from aiohttp.typedefs import Handler

REQUEST_ID = web.RequestKey("request_id", str)
HEADER = "X-Request-ID"

# An id from outside goes into logs and answers: only characters that mean nothing to either.
_ACCEPTABLE = re.compile(r"[A-Za-z0-9_.:-]{8,128}")


def request_id_of(request: web.BaseRequest) -> str:
    """The id of this request; makes one where the chain has not come to it."""
    if REQUEST_ID in request:
        return request[REQUEST_ID]
    offered = request.headers.get(HEADER, "")
    fresh = offered if _ACCEPTABLE.fullmatch(offered) else secrets.token_hex(8)
    request[REQUEST_ID] = fresh
    return fresh


async def _answer_with_id(request: web.Request, response: web.StreamResponse) -> None:
    response.headers[HEADER] = request_id_of(request)


def setup(app: web.Application) -> None:
    """Send the id back on every response, streamed and upgraded ones included."""
    app.on_response_prepare.append(_answer_with_id)


@web.middleware
async def request_id_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """First link of the chain: everything after it may log and answer with the id."""
    request_id_of(request)
    return await handler(request)

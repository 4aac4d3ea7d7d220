"""``Expect: 100-continue`` (RFC 9110, 10.1.1): 100 is sent after the checks, not before them.

aiohttp sends 100 Continue before any middleware has seen the request. The header is therefore
hidden from aiohttp until the content is needed by the upstream or by one of the gate's handlers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict, CIMultiDictProxy

_EXPECTED = web.RequestKey("expectation", str)
_Serve = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def not_yet(serve: _Serve) -> _Serve:
    """Wrap a server so that it does not send 100 Continue by itself."""

    async def serve_later(request: web.BaseRequest) -> web.StreamResponse:
        headers = request._message.headers
        if hdrs.EXPECT in headers:
            request[_EXPECTED] = headers[hdrs.EXPECT]
            others = CIMultiDict(headers)
            del others[hdrs.EXPECT]
            request._headers = CIMultiDictProxy(others)
        return await serve(request)

    return serve_later


def expectation_of(request: web.BaseRequest) -> str | None:
    """The request's ``Expect`` header, ``None`` without one; also while aiohttp can't see it."""
    return request._message.headers.get(hdrs.EXPECT)


@web.middleware
async def expectation_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Last middleware: one of the gate's handlers follows, and may need the content."""
    if _EXPECTED in request and request.match_info.http_exception is None:
        request._headers = request._message.headers
        request._cache.pop("headers", None)  # aiohttp caches request.headers
        await request.match_info.expect_handler(request)
    return await handler(request)

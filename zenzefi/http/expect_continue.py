"""``Expect: 100-continue`` (RFC 9110, 10.1.1), answered after the checks and not before them.

aiohttp invites the content before any link of the chain has seen the request. So the header is kept
from its sight until somebody wants the content: the upstream, or a handler of the gate's own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict, CIMultiDictProxy

_EXPECTED = web.RequestKey("expectation", str)
_Serve = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def not_yet(serve: _Serve) -> _Serve:
    """The same server, which no longer invites any content by itself."""

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
    """What the request expects, ``None`` if nothing."""
    if _EXPECTED in request:
        return request[_EXPECTED]
    return request.headers.get(hdrs.EXPECT)


@web.middleware
async def expectation_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Last link of the chain: a handler of the gate's own comes next, and may want the content."""
    if _EXPECTED in request and request.match_info.http_exception is None:
        request._headers = request._message.headers
        request._cache.pop("headers", None)  # what request.headers has looked up already
        await request.match_info.expect_handler(request)
    return await handler(request)

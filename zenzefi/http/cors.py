"""Which other sites' scripts may call the API (Fetch standard, CORS protocol).

Exact origins from CORS_API_ORIGINS, for the API group alone. The pages never take part, and under
the mount CORS is the upstream's own affair. No cookie ever authenticates the API, so credentials
are not allowed, and ``*`` is not needed.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from zenzefi.origin import PROXY_PREFIX
from zenzefi.settings import SETTINGS

_GROUP = "/api/v1/"
_NOT_OURS = f"{PROXY_PREFIX}/"
_METHODS = "GET, POST, PATCH, DELETE"
_HEADERS = "Authorization, Content-Type, Idempotency-Key, X-Request-ID"
_EXPOSED = "X-Request-ID, Retry-After, RateLimit, RateLimit-Policy"
_MAX_AGE = "600"  # seconds for which a browser may remember a preflight


@web.middleware
async def cors_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Link of the chain, outside the error mapping: errors can be read by allowed sites too."""
    allowed = request.app[SETTINGS].cors_api_origins
    path = request.path
    if not allowed or not path.startswith(_GROUP) or path.startswith(_NOT_OURS):
        return await handler(request)
    origin = request.headers.get("Origin")
    is_allowed = origin in allowed
    response: web.StreamResponse
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        response = web.Response(status=204)
        if is_allowed:
            response.headers["Access-Control-Allow-Methods"] = _METHODS
            response.headers["Access-Control-Allow-Headers"] = _HEADERS
            response.headers["Access-Control-Max-Age"] = _MAX_AGE
    else:
        response = await handler(request)
    if not response.prepared:
        # The response depends on the origin, so caches must key on it.
        response.headers.add("Vary", "Origin")
        if is_allowed and origin is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED
    return response

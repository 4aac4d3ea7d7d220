"""Serves the run-time script below the prefix: static, cacheable, the same for every client."""

from __future__ import annotations

from aiohttp import web

from zenzefi.origin import PROXY_PREFIX
from zenzefi.rewriting.runtime import RUNTIME_PATH, runtime_headers, runtime_source, runtime_version


async def serve_runtime(request: web.Request) -> web.Response:
    """The script. It holds no secret, so it needs no access token; a known entity tag gets 304."""
    headers = dict(runtime_headers(request.query.get("v")))
    if request.headers.get("If-None-Match") == f'"{runtime_version()}"':
        headers.pop("Content-Type")
        return web.Response(status=304, headers=headers)
    return web.Response(body=runtime_source(), headers=headers)


def setup(app: web.Application) -> None:
    """Add the route; call it before the route of everything else below the prefix."""
    app.router.add_get(PROXY_PREFIX + RUNTIME_PATH, serve_runtime)

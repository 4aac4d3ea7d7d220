"""``/openapi.json``, and the two pages that show it: ``/docs`` (Swagger UI), ``/redoc`` (ReDoc).

The scripts of the pages come from installed packages, not from the network. The pages contain no
inline code, so their Content-Security-Policy allows none.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from aiohttp import web

from zenzefi.api.openapi import describe
from zenzefi.api.routing import AUTHENTICATION, OPERATIONS, Authentication, Operation
from zenzefi.errors import NotFound
from zenzefi.http_syntax import weights
from zenzefi.settings import SETTINGS

_SWAGGER_START = b"""\
"use strict";
window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: false,
});
"""
_REDOC_START = b"""\
"use strict";
Redoc.init("/openapi.json", { nativeScrollbars: true }, document.getElementById("docs"));
"""
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Zenzefi API</title>{links}</head>
<body><div id="docs"><noscript>This page requires JavaScript. The description is available at
<a href="/openapi.json">/openapi.json</a>.</noscript></div>{scripts}</body>
</html>
"""
# Both viewers add styles at run time; scripts are restricted to this origin.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_TYPES = {".js": "text/javascript", ".css": "text/css"}


@dataclass(frozen=True)
class _File:
    """A script or style sheet of a viewer, from a package or from this module."""

    name: str
    package: str = ""
    path: str = ""
    own: bytes = b""

    @cached_property
    def plain(self) -> bytes:
        """The content, read at first use."""
        if not self.package:
            return self.own
        spec = find_spec(self.package)  # without importing the package
        if spec is None or spec.origin is None:
            raise NotFound
        return (Path(spec.origin).parent / self.path).read_bytes()

    @cached_property
    def coded(self) -> bytes:
        """The content, compressed with gzip."""
        return gzip.compress(self.plain, 6, mtime=0)

    @cached_property
    def etag(self) -> str:
        """Strong entity tag of the content."""
        return f'"{hashlib.sha256(self.plain).hexdigest()[:16]}"'

    def load(self) -> None:
        """Read, compress and hash the content, which has megabytes; to be called in a thread."""
        _ = self.coded, self.etag


_SWAGGER = "star_openapi_swagger"
_FILES = {
    file.name: file
    for file in (
        _File("swagger-ui.css", _SWAGGER, "templates/swagger/css/swagger-ui.css"),
        _File("swagger-ui.js", _SWAGGER, "templates/swagger/js/swagger-ui-bundle.js"),
        _File("swagger-start.js", own=_SWAGGER_START),
        _File("redoc.js", "star_openapi_redoc", "templates/redoc/js/redoc.standalone.js"),
        _File("redoc-start.js", own=_REDOC_START),
    )
}


def _page(*names: str) -> str:
    links = "".join(
        f'<link rel="stylesheet" href="/docs/{name}">' for name in names if name.endswith(".css")
    )
    scripts = "".join(
        f'<script src="/docs/{name}"></script>' for name in names if name.endswith(".js")
    )
    return _PAGE.format(links=links, scripts=scripts)


_DOCS = _page("swagger-ui.css", "swagger-ui.js", "swagger-start.js")
_REDOC = _page("redoc.js", "redoc-start.js")


@dataclass(frozen=True)
class _Description:
    """The OpenAPI description of one application.

    Built at the first request: it takes a quarter of a second, which every start and every worker
    would otherwise spend.
    """

    operations: list[Operation]
    server: str
    authentication: Authentication

    @cached_property
    def encoded(self) -> bytes:
        """The description as JSON; to be read in a thread."""
        described = describe(self.operations, self.server, self.authentication)
        return json.dumps(described, ensure_ascii=False).encode()


_DESCRIPTION: web.AppKey[_Description] = web.AppKey("openapi_description", _Description)


async def _openapi(request: web.Request) -> web.Response:
    """The OpenAPI description."""
    description = request.app[_DESCRIPTION]
    return web.Response(
        body=await asyncio.to_thread(lambda: description.encoded),
        content_type="application/json",
        headers={"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"},
    )


async def _swagger(request: web.Request) -> web.Response:
    return web.Response(text=_DOCS, content_type="text/html", headers=_HEADERS)


async def _redoc(request: web.Request) -> web.Response:
    return web.Response(text=_REDOC, content_type="text/html", headers=_HEADERS)


async def _asset(request: web.Request) -> web.Response:
    file = _FILES.get(request.match_info["name"])
    if file is None:
        raise NotFound
    await asyncio.to_thread(file.load)
    headers = {
        "ETag": file.etag,
        "Cache-Control": "no-cache",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if request.headers.get("If-None-Match") == file.etag:
        return web.Response(status=304, headers=headers)
    kind = _TYPES[Path(file.name).suffix]
    if weights(request.headers.get("Accept-Encoding", "")).get("gzip", 0) > 0:
        headers["Content-Encoding"] = "gzip"
        return web.Response(body=file.coded, content_type=kind, headers=headers)
    return web.Response(body=file.plain, content_type=kind, charset="utf-8", headers=headers)


def setup(app: web.Application) -> None:
    """Mount the description and its pages; requires that all operations are mounted."""
    operations: list[Operation] = app[OPERATIONS]
    server = str(app[SETTINGS].public_origin)
    app[_DESCRIPTION] = _Description(operations, server, app[AUTHENTICATION])
    app.router.add_get("/openapi.json", _openapi)
    app.router.add_get("/docs", _swagger)
    app.router.add_get("/redoc", _redoc)
    app.router.add_get("/docs/{name}", _asset)

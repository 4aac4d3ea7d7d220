"""``/openapi.json``, and the files of its viewers: Swagger UI (``/docs``) and ReDoc (``/redoc``).

The scripts come from installed packages, not from the network. The pages of the viewers are in
:mod:`zenzefi.web.api_reference`. They contain no inline code, so their Content-Security-Policy
allows none.
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
# Both viewers add styles at run time; scripts are restricted to this origin.
_VIEWER_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
VIEWER_HEADERS = {
    "Content-Security-Policy": _VIEWER_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Headers of the pages that run a viewer."""
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


VIEWERS: dict[str, tuple[str, ...]] = {
    "/docs": ("swagger-ui.css", "swagger-ui.js", "swagger-start.js"),
    "/redoc": ("redoc.js", "redoc-start.js"),
}
"""The files of each viewer, by the path of its page."""


@dataclass(frozen=True)
class _Description:
    """The OpenAPI description of one application.

    Built at the first request: it takes a quarter of a second, which every start and every worker
    would otherwise spend.
    """

    operations: list[Operation]
    server: str
    authentication: Authentication
    title: str

    @cached_property
    def encoded(self) -> bytes:
        """The description as JSON; to be read in a thread."""
        described = describe(self.operations, self.server, self.authentication, title=self.title)
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
    """Mount the description and the files of its viewers; all operations must be mounted."""
    operations: list[Operation] = app[OPERATIONS]
    settings = app[SETTINGS]
    app[_DESCRIPTION] = _Description(
        operations,
        str(settings.public_origin),
        app[AUTHENTICATION],
        f"{settings.site_name} gate",
    )
    app.router.add_get("/openapi.json", _openapi)
    app.router.add_get("/docs/{name}", _asset)

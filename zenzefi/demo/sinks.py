"""The self-checks: one page per API with which a script uses a URL.

Each page sets ``document.title`` to ``ok`` or to the failure; ``/checks/`` runs them all.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from aiohttp import web

from zenzefi.demo.render import origin_of, render

routes = web.RouteTableDef()

SINKS = sorted(path.stem for path in (Path(__file__).parent / "static" / "sinks").glob("*.js"))
"""The names of the checks."""

_POLICIES = {
    "csp": "default-src 'self'; script-src 'self' 'nonce-{nonce}'; base-uri 'none'",
    "csp-self": "default-src 'self'",
    "csp-strict": "script-src 'strict-dynamic' 'nonce-{nonce}'; object-src 'none'",
    "trusted-types": "require-trusted-types-for 'script'; trusted-types page",
}


@routes.get("/checks/")
async def board(request: web.Request) -> web.Response:
    """The page that runs all checks in sequence."""
    names = [name for name in SINKS if name != "quiet"]
    return render(request, "checks.html", title="Self-checks", names=names)


@routes.get("/sinks/{name}")
async def sink(request: web.Request) -> web.Response:
    """The page of one check."""
    name = request.match_info["name"]
    if name not in SINKS:
        raise web.HTTPNotFound(text=f"Checks here: {', '.join(SINKS)}")
    nonce = secrets.token_urlsafe(12)
    # Reversed, so that no rewriting step recognises a URL: scripts also build URLs that can't be
    # predicted. At a root mount, which has no runtime, ?linked checks the rest.
    site = origin_of(request)[::-1]
    page = render(request, "sink.html", title=name, name=name, site=site, nonce=nonce)
    if name in _POLICIES:
        page.headers["Content-Security-Policy"] = _POLICIES[name].format(nonce=nonce)
    return page

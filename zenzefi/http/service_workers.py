"""Service workers are only served below the mount, by the application behind the gate.

A worker handles the requests of every page in its scope, for as long as the browser keeps it. The
``Service-Worker-Allowed`` row of the response header table limits the scope of a script below the
mount; requests for worker scripts on all other paths of the gate are refused.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from zenzefi.http.errors import CrossSiteRefused
from zenzefi.origin import PROXY_PREFIX

_MOUNT = f"{PROXY_PREFIX}/"


@web.middleware
async def service_workers_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse the script of a service worker outside the mount (403).

    Browsers send ``Service-Worker: script`` with each request for such a script (Service Workers,
    "Service-Worker" header), and follow no redirect there. Add it after the middleware of the
    application's own origin, on which every path is the application's.
    """
    if "Service-Worker" in request.headers and not request.raw_path.startswith(_MOUNT):
        raise CrossSiteRefused("The gate has no service workers.")
    return await handler(request)

"""Pages and files of plugins, for the proxy: content, errors, and requests from other sites.

They are below the mount at :data:`PLUGIN_PATH`, which no upstream gets. A request is admitted like
all others, unless the page needs no access token; then nothing in it identifies a client.
"""

from __future__ import annotations

from aiohttp import web

from zenzefi.errors import MethodRefused, NotFound, PayloadTooLarge, Unavailable
from zenzefi.http.errors import CrossSiteRefused
from zenzefi.origin import Mount
from zenzefi.proxy.errors import PluginPageFailed
from zenzefi.proxy.rewriter import Answer, ReadableContent
from zenzefi.proxy.websocket.opening import check_origin
from zenzefi.rewriting.plugins.heads import ExchangeHead
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.plugins.routes import (
    FoundFile,
    FoundRoute,
    RouteFailed,
    RouteMissing,
    RouteRefuses,
    RouteSuspended,
    call_route,
    file_response,
    find,
)
from zenzefi.rewriting.plugins.values import Response

_READING = ("GET", "HEAD")
_OWN_SITE = ("same-origin", "none")


def refuse_other_sites(request: web.BaseRequest, mount: Mount) -> None:
    """Refuse a change that another site requests with this browser's cookie.

    Browsers send ``Origin`` with every such request (Fetch, 3.2). Raises ``CrossSiteRefused``.
    """
    if request.method in _READING:
        return
    if request.headers.get("Sec-Fetch-Site", "none") not in _OWN_SITE:
        raise CrossSiteRefused
    check_origin(request, mount)


async def plugin_page(
    registry: Registry, head: ExchangeHead, path: str, content: ReadableContent | None
) -> tuple[Response, bool]:
    """The response of a plugin's page or file, and whether its addresses have to be mapped.

    Raises ``NotFound``, ``MethodRefused``, ``PayloadTooLarge``, ``Unavailable``,
    ``PluginPageFailed`` and what reading the content raises.
    """
    try:
        found = find(registry, head.method, path)
        if isinstance(found, FoundFile):
            return file_response(found, head), False
        body = await _content(content, found)
        return await call_route(found, head, body), True
    except RouteMissing:
        raise NotFound from None
    except RouteRefuses as refusal:
        raise MethodRefused(refusal.args[0]) from None
    except RouteSuspended:
        raise Unavailable from None
    except RouteFailed:
        raise PluginPageFailed from None


async def _content(content: ReadableContent | None, found: FoundRoute) -> bytes:
    if content is None:
        return b""
    with found.receiving():
        return await _whole(content, found.longest_body)


async def _whole(content: ReadableContent, limit: int) -> bytes:
    if content.length is not None and content.length > limit:
        raise PayloadTooLarge
    content.invite()
    pieces, size = [], 0
    while piece := await content.read():
        size += len(piece)
        if size > limit:
            raise PayloadTooLarge
        pieces.append(piece)
    return b"".join(pieces)


def anonymous_response(answer: Answer) -> web.Response:
    """The response to a request that was not admitted, because its page needs no token."""
    status, mapped, body = answer
    response = web.Response(status=status, body=body if status not in (204, 304) else None)
    for name, value in mapped.headers:
        response.headers.add(name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
    return response

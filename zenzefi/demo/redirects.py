"""Redirects in every spelling, and the other headers with URLs."""

from __future__ import annotations

from aiohttp import web

from zenzefi.demo.render import origin_of

routes = web.RouteTableDef()

TARGET = "/lights/north/skerry.html"


@routes.get("/redirects/{kind}")
async def redirect(request: web.Request) -> web.Response:
    """``absolute``, ``rooted``, ``relative``, ``scheme``, ``refresh``, ``chain`` or ``loop``."""
    origin = origin_of(request)
    kind = request.match_info["kind"]
    locations = {
        "absolute": origin + TARGET,
        "rooted": TARGET,
        "relative": "../lights/north/skerry.html",
        "scheme": f"//{request.host}{TARGET}",
        "chain": "/redirects/absolute",
        "loop": "/redirects/loop",
    }
    if kind == "refresh":
        return web.Response(
            text='<link rel="icon" href="data:,">On the way.',
            headers={"Refresh": f"0; url={origin}{TARGET}"},
            content_type="text/html",
        )
    if kind not in locations:
        raise web.HTTPNotFound(text=f"Redirects here: {', '.join([*locations, 'refresh'])}")
    status = int(request.query.get("status", "302"))
    if status not in (301, 302, 303, 307, 308):
        raise web.HTTPBadRequest(text="status is 301, 302, 303, 307 or 308")
    return web.Response(status=status, headers={"Location": locations[kind]})

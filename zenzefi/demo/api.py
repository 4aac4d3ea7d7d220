"""A JSON API with absolute and rooted URLs in its responses, and calls of every method."""

from __future__ import annotations

import hashlib
import json

from aiohttp import web

from zenzefi.demo.render import origin_of

routes = web.RouteTableDef()

LIGHTS = [
    {"id": 1, "name": "Skerry", "built": 1871, "range_nm": 22, "character": "Fl W 5s"},
    {"id": 2, "name": "Gullholm", "built": 1904, "range_nm": 17, "character": "Oc WR 8s"},
    {"id": 3, "name": "Saltness", "built": 1858, "range_nm": 19, "character": "Iso G 4s"},
    {"id": 4, "name": "Far Stack", "built": 1922, "range_nm": 26, "character": "Fl(3) W 15s"},
]


@routes.get("/api/lights")
async def lights(request: web.Request) -> web.Response:
    """All lights, with the absolute and the rooted URL of each; honours ``If-None-Match``."""
    origin = origin_of(request)
    body = json.dumps(
        {
            "self": f"{origin}/api/lights",
            "next": None,
            "items": [
                {
                    **light,
                    "url": f"{origin}/api/lights/{light['id']}",
                    "image": "/static/img/coast.svg",
                }
                for light in LIGHTS
            ],
            "distance": 1.50,
        },
        indent=1,
    ).encode()
    etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    if request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers={"ETag": etag})
    return web.Response(
        body=body,
        content_type="application/json",
        headers={"ETag": etag, "Cache-Control": "no-cache", "Link": f'<{origin}/api/>; rel="up"'},
    )


@routes.get(r"/api/lights/{number:\d+}")
async def light(request: web.Request) -> web.Response:
    """One light, or 404 with a JSON body."""
    number = int(request.match_info["number"])
    for entry in LIGHTS:
        if entry["id"] == number:
            return web.json_response({**entry, "url": str(request.url)})
    return web.json_response({"detail": "No such light"}, status=404)


@routes.get("/api/stream")
async def stream(request: web.Request) -> web.StreamResponse:
    """Newline-delimited JSON, a line per light."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    for entry in LIGHTS:
        line = {**entry, "url": f"{origin_of(request)}/api/lights/{entry['id']}"}
        await response.write(json.dumps(line).encode() + b"\n")
    await response.write_eof()
    return response


@routes.get("/api/guarded")
async def guarded(request: web.Request) -> web.Response:
    """JSON after the guard against script inclusion that some frameworks send."""
    url = f"{origin_of(request)}/api/lights"
    return web.Response(
        body=b")]}'\n" + json.dumps({"url": url}).encode(), content_type="application/json"
    )


@routes.get("/api/nothing")
async def nothing(request: web.Request) -> web.Response:
    """204: no content at all."""
    return web.Response(status=204, headers={"X-Demo": "nothing"})


@routes.route("*", "/api/echo")
async def echo(request: web.Request) -> web.Response:
    """The received request: method, raw target, headers in order, size and digest of the body."""
    digest, size = hashlib.sha256(), 0
    async for chunk in request.content.iter_chunked(65536):
        digest.update(chunk)
        size += len(chunk)
    return web.json_response(
        {
            "method": request.method,
            "target": request.raw_path,
            "headers": [
                [name.decode("latin-1"), value.decode("latin-1")]
                for name, value in request.raw_headers
            ],
            "body": {"bytes": size, "sha256": digest.hexdigest()},
        }
    )

"""Cookies: several at once, with every attribute, and a list of the received ones."""

from __future__ import annotations

from aiohttp import web

routes = web.RouteTableDef()

SET_COOKIES = (
    "harbour=open; Path=/",
    "berth=12; Path=/cookies; HttpOnly",
    "tide=high; Path=/; Expires=Fri, 01 Jan 2038 00:00:00 GMT; SameSite=Lax",
    "watch=dog; Path=/; Max-Age=3600",
    "__Host-keel=even; Path=/; Secure; HttpOnly",
    "__Secure-hold=dry; Path=/; Secure",
)


@routes.get("/cookies/")
async def show(request: web.Request) -> web.Response:
    """The cookies of this request."""
    rows = "".join(f"<li><code>{name}</code></li>" for name in sorted(request.cookies))
    html = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Cookies</title>'
        '<meta name="viewport" content="width=device-width">'
        '<link rel="icon" href="/static/img/logo.svg">'
        '<link rel="stylesheet" href="/static/css/main.css"><main><h1>Cookies</h1>'
        '<p class="lead">Six cookies at once, each with other attributes. Over plain HTTP a '
        "browser keeps only those without <code>Secure</code>.</p>"
        '<div class="row"><a class="button" href="/cookies/set">Set all</a> '
        '<a class="button" href="clear">Clear all</a> <a href="/">Home</a></div>'
        f'<h2>Sent with this request</h2><ul id="sent">{rows or "<li>none</li>"}</ul></main></html>'
    )
    return web.Response(text=html, content_type="text/html")


@routes.get("/cookies/set")
async def set_all(request: web.Request) -> web.Response:
    """Six ``Set-Cookie`` headers, then back to the list."""
    response = web.Response(status=303, headers={"Location": "/cookies/"})
    for line in SET_COOKIES:
        response.headers.add("Set-Cookie", line)
    return response


@routes.get("/cookies/clear")
async def clear(request: web.Request) -> web.Response:
    """Expire each cookie with a date in the past."""
    response = web.Response(status=303, headers={"Location": "./"})
    for line in SET_COOKIES:
        name, path = line.split("=", 1)[0], "/cookies" if "Path=/cookies" in line else "/"
        secure = "; Secure" if name.startswith("__") else ""
        response.headers.add(
            "Set-Cookie", f"{name}=; Path={path}; Expires=Thu, 01 Jan 1970 00:00:00 GMT{secure}"
        )
    return response


@routes.get("/cookies/json")
async def as_json(request: web.Request) -> web.Response:
    """Names and values of the received cookies."""
    return web.json_response(dict(request.cookies))

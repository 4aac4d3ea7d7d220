"""The application of the demo site: its pages and its other parts."""

from __future__ import annotations

from pathlib import Path

from aiohttp import BodyPartReader, web

from zenzefi.demo import api, bodies, cookies, documents, live, media, redirects, sinks
from zenzefi.demo.pages import PAGES
from zenzefi.demo.render import page_text, render

_HERE = Path(__file__).resolve().parent


async def _page(request: web.Request) -> web.Response:
    template, title = PAGES[request.path]
    return render(request, template, title=title)


async def _submitted(request: web.Request) -> web.Response:
    """Show the submitted form; uploaded files are counted but not stored."""
    fields: list[tuple[str, str]] = []
    if request.content_type == "multipart/form-data":
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                continue  # nested multiparts are not form fields
            if part.filename is None:
                fields.append((part.name or "", await part.text()))
                continue
            size = 0
            while chunk := await part.read_chunk():
                size += len(chunk)
            fields.append((part.name or "", f"{part.filename}, {size} bytes"))
    else:
        fields = [(name, str(value)) for name, value in (await request.post()).items()]
    seen = {name: request.headers.get(name, "") for name in ("Origin", "Referer")}
    return render(request, "submitted.html", title="Received", fields=fields, seen=seen)


async def _old_charset(request: web.Request) -> web.Response:
    """The windows-1251 page: the charset is in the header, or only in ``<meta>``."""
    text = page_text(request, "letter.html")
    named = request.query.get("by") != "meta"
    return web.Response(
        body=text.encode("windows-1251", "xmlcharrefreplace"),
        headers={"Content-Type": "text/html" + ("; charset=windows-1251" if named else "")},
    )


async def _favicon(request: web.Request) -> web.Response:
    return web.Response(status=308, headers={"Location": "/static/img/logo.svg"})


async def _missing(request: web.Request) -> web.Response:
    response = render(request, "missing.html", title="Not on the chart")
    response.set_status(404)
    return response


def create_demo_app() -> web.Application:
    """The complete demo site; it needs neither the network nor files outside the package."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    for path in PAGES:
        app.router.add_get(path, _page)
    app.router.add_get("/letter/", _old_charset)
    app.router.add_post("/post/submit", _submitted)
    for part in (api, bodies, cookies, documents, media, redirects, sinks):
        app.router.add_routes(part.routes)
    live.setup(app)
    app.router.add_get("/favicon.ico", _favicon)
    app.router.add_static("/static", _HERE / "static")
    app.router.add_get("/{missing:.*}", _missing)
    return app

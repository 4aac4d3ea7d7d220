"""The pages of the API reference: ``/docs`` (Swagger UI) and ``/redoc`` (ReDoc).

They have the frame of the site, but no account and no form: the viewers need a weaker
Content-Security-Policy than the other pages, and everybody may read the reference.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp_jinja2
from aiohttp import web

from zenzefi import i18n
from zenzefi.api.docs import VIEWER_HEADERS, VIEWERS


@dataclass(frozen=True, slots=True)
class _ReferencePage:
    """The value ``page`` of the template."""

    path: str
    language: str

    @property
    def styles(self) -> list[str]:
        """The style sheets of the viewer."""
        return [name for name in VIEWERS[self.path] if name.endswith(".css")]

    @property
    def scripts(self) -> list[str]:
        """The scripts of the viewer, in the order in which they run."""
        return [name for name in VIEWERS[self.path] if name.endswith(".js")]


def _page(path: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def show(request: web.Request) -> web.Response:
        context = i18n.context_of(request)
        with i18n.using(context):
            page = _ReferencePage(path, context.language)
            response = aiohttp_jinja2.render_template("reference.html", request, {"page": page})
        response.headers.update(VIEWER_HEADERS)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Vary"] = "Accept-Language, Cookie"
        return response

    return show


def mount(app: web.Application) -> None:
    """Add the pages to an application."""
    for path in VIEWERS:
        app.router.add_get(path, _page(path))

"""Pages from templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from aiohttp import web

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def origin_of(request: web.Request) -> str:
    """The site's origin by the client's Host header; absolute links use it."""
    return f"{request.scheme}://{request.host}"


def page_text(request: web.Request, template: str, **values: Any) -> str:
    """The text of one page; ``origin`` and ``path`` are always known to its template."""
    return _TEMPLATES.get_template(template).render(
        origin=origin_of(request), path=request.path, **values
    )


def render(request: web.Request, template: str, **values: Any) -> web.Response:
    """One page as a response in UTF-8."""
    text = page_text(request, template, **values)
    return web.Response(text=text, content_type="text/html", charset="utf-8")

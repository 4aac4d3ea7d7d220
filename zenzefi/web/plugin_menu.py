"""The entries of plugins on the account pages: links to their pages at the application."""

from __future__ import annotations

from aiohttp import web

from zenzefi.origin import PROXY_PREFIX
from zenzefi.proxy.setup import ENGINE
from zenzefi.rewriting.plugins.route_values import PLUGIN_PATH

_MOST = 20


def plugin_pages(app: web.Application, language: str) -> list[tuple[str, str]]:
    """Address and text of each entry, at most 20 of them.

    The address is below the prefix. A browser that uses the application at its own origin is
    redirected there, like every navigation below the prefix.
    """
    engine = app.get(ENGINE)
    if engine is None:
        return []
    found = [
        (f"{PROXY_PREFIX}{PLUGIN_PATH}{name}{route.path}", text)
        for name, entry in engine.registry.serving.items()
        for route, _ in entry.served.routes
        if (text := route.menu_text(language))
    ]
    return found[:_MOST]

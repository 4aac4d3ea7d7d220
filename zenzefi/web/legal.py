"""The operator's texts: imprint, terms of use, privacy policy and contact."""

from __future__ import annotations

from aiohttp import web

from zenzefi.branding import BRAND, LEGAL_PREFIX
from zenzefi.errors import NotFound
from zenzefi.i18n import N_
from zenzefi.i18n import gettext as _
from zenzefi.web.page import PageContext
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.ANYONE)

_TITLES = {
    "imprint": N_("Imprint"),
    "terms": N_("Terms of use"),
    "privacy": N_("Privacy"),
    "contact": N_("Contact"),
}


@routes.get(LEGAL_PREFIX + "/{name}")
async def legal(page: PageContext) -> web.StreamResponse:
    """One text, in the reader's language where there is one."""
    name, brand = page.request.match_info["name"], page.request.app[BRAND]
    if name in brand.urls:
        return web.Response(status=303, headers={"Location": brand.urls[name]})
    text = brand.text(name, page.language)
    if text is None:
        raise NotFound
    return page.render("legal.html", title=_(_TITLES[name]), text=text)

"""The list of a user's access tokens: searched, filtered and paged, without their values."""

from __future__ import annotations

from aiohttp import web

from zenzefi.i18n import gettext as _
from zenzefi.settings import SETTINGS
from zenzefi.tokens.token_format import PREFIX_LENGTH, is_well_formed
from zenzefi.tokens.token_records import TokenRecord
from zenzefi.tokens.token_search import TOKEN_SEARCH, TokenFilter
from zenzefi.web import pagination
from zenzefi.web.forms import Form
from zenzefi.web.page import PageContext
from zenzefi.web.plugin_menu import plugin_pages
from zenzefi.web.public import application_name
from zenzefi.web.routing import PageAccess, PageRoutes
from zenzefi.web.view_models import token_card

routes = PageRoutes(access=PageAccess.SIGNED_IN, section="/account")

_ROWS = 20
_ENDED_SHOWN = 4
"""Ended tokens below the usable ones, on the first page without a filter."""


@routes.get("/account")
async def token_list(page: PageContext) -> web.StreamResponse:
    """Usable tokens, the active ones first, or those that match a filter."""
    app = page.request.app
    search = pagination.filter_value(page, "search")[:100]
    state = pagination.filter_value(page, "state")
    if is_well_formed(search):  # a whole token was pasted: neither page nor address may keep it
        found_by = pagination.pager_url("/account", search=search[:PREFIX_LENGTH], state=state)
        return page.redirect(found_by.rstrip("&"))
    which = TokenFilter(state) if state in set(TokenFilter) else TokenFilter.USABLE
    offset = pagination.offset(page)
    tokens = app[TOKEN_SEARCH]
    counts = await tokens.counts(page.user.id)
    found, total = await tokens.listed(
        page.user.id, which=which, search=search, limit=_ROWS, offset=offset
    )
    ended: list[TokenRecord] = []
    if which is TokenFilter.USABLE and not search and offset + _ROWS >= total:
        ended, _total = await tokens.listed(
            page.user.id, which=TokenFilter.ENDED, limit=_ENDED_SHOWN, offset=0
        )
    settings = app[SETTINGS]
    filtered = bool(search) or which is not TokenFilter.USABLE
    return page.render(
        "account/tokens.html",
        listing=pagination.ListPage(
            [token_card(token, settings) for token in found], total, _ROWS, offset
        ),
        ended=[token_card(token, settings) for token in ended],
        counts=counts,
        form=Form({"search": search}),
        plugin_pages=plugin_pages(app, page.language),
        filtered=filtered,
        # Few tokens need no filter.
        has_filter=filtered or counts.all > _ENDED_SHOWN,
        states=[
            (TokenFilter.USABLE.value, _("Usable tokens")),
            (TokenFilter.ACTIVE.value, _("Active")),
            (TokenFilter.READY.value, _("Unused")),
            (TokenFilter.ENDED.value, _("Ended")),
            (TokenFilter.ALL.value, _("All")),
        ],
        state=which.value,
        base=pagination.pager_url("/account", search=search, state=which.value if filtered else ""),
        application=application_name(page),
    )

"""Error pages in the visitor's language, with a way on, wherever the visitor is.

Such a page may stand in the upstream's place, at its own origin too, so it links to the account by
the gate's whole address.
"""

from __future__ import annotations

from aiohttp import web

from zenzefi.config import SETTINGS
from zenzefi.errors import GateError
from zenzefi.middleware.errors import Words
from zenzefi.web import i18n, texts
from zenzefi.web.i18n import gettext as _


def words(request: web.BaseRequest, error: GateError) -> Words | None:
    """What to say about this error, if it is one that people meet."""
    if not isinstance(request, web.Request):
        return None
    with i18n.speaking(i18n.choose(request)) as manner:
        found = texts.known(error)
        if found is None:
            return None
        title, text = found
        account = f"{request.config_dict[SETTINGS].public_origin}/account"
        to_account = error.status in (401, 403, 404, 409)
        return Words(
            language=manner.language,
            title=title,
            detail=text,
            href=account if to_account else "",
            link=_("To my tokens") if to_account else "",
            request=_("Request"),
        )

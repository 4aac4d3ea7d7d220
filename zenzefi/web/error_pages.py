"""Error pages in the visitor's language, with a way on, wherever the visitor is.

Such a page may stand in the upstream's place, at its own origin too, so it links to the account by
the gate's whole address.
"""

from __future__ import annotations

from aiohttp import web

from zenzefi import i18n
from zenzefi.errors import GateError
from zenzefi.http.error_responses import ErrorPageText
from zenzefi.i18n import gettext as _
from zenzefi.settings import SETTINGS
from zenzefi.web import labels
from zenzefi.web.page_security import own_path


def words(request: web.BaseRequest, error: GateError) -> ErrorPageText | None:
    """What to say about this error, if it is one that people meet."""
    if not isinstance(request, web.Request):
        return None
    with i18n.using(i18n.context_of(request)) as context:
        found = labels.known(error)
        if found is None:
            return None
        title, text = found
        href, link = _way_on(request, error)
        return ErrorPageText(
            language=context.language,
            title=title,
            detail=text,
            href=href,
            link=link,
            request=_("Request"),
        )


def _way_on(request: web.Request, error: GateError) -> tuple[str, str]:
    """Where to go from here, if anywhere."""
    origin = request.config_dict[SETTINGS].public_origin
    if error.status in (401, 403, 404, 409):
        return f"{origin}/account", _("To my tokens")
    here = own_path(request.path, "")
    if error.status == 429 and here:
        return f"{origin}{here}", _("Back to the form")
    return "", ""

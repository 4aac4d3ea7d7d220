"""Forms that a sign-in provider sends to the application (OAuth 2.0 Form Post Response Mode; SAML
2.0 Bindings, 3.5), which arrive without the gate's cookies.

Browsers send ``SameSite=Lax`` cookies across sites only with GET (RFC 6265bis, 5.2). The gate
responds with a page that sends the same fields to the same address, now from the application's own
origin, where the browser adds the cookies.

``SameSite`` protects against cross-site request forgery, and the second form comes with all
cookies. So this is done only for the paths and the providers that the operator names: such a path
gets forms from another site by design, and compares ``state``, ``nonce`` or ``RelayState``.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable
from urllib.parse import parse_qsl

from aiohttp import web

from zenzefi import i18n
from zenzefi.errors import BadRequest, PayloadTooLarge
from zenzefi.http.body import content_of
from zenzefi.http.target import Target
from zenzefi.i18n import gettext as _
from zenzefi.origin import TOKEN_HEADER
from zenzefi.settings import parse_origin

_MOST_BYTES = 512 * 1024
"""Bytes of a form: a SAML response with many groups has about 100 KB."""
_MOST_FIELDS = 64
_FORM = "application/x-www-form-urlencoded"
# A field may be named "submit", which hides the method of the form.
_SCRIPT = "HTMLFormElement.prototype.submit.call(document.forms[0])"
_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; script-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'"
    ),
    "Referrer-Policy": "same-origin",  # by no-referrer the form's Origin would be "null"
    "X-Content-Type-Options": "nosniff",
}
_PAGE = """<!doctype html>
<html lang="{language}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title></head>
<body><form method="post" accept-charset="utf-8">{fields}
<noscript><p>{detail}</p><button>{button}</button></noscript></form>
<script>{script}</script></body>
</html>
"""


class FormPosts:
    """The forms of other sites that are sent again, by the settings of one gate."""

    def __init__(self, origins: Iterable[str], paths: Iterable[str]) -> None:
        """``origins`` are those of sign-in providers, ``paths`` the upstream's."""
        self._origins = frozenset(origins)
        self._paths = frozenset(paths)

    def concerns(self, request: web.Request, target: Target) -> bool:
        """Whether a request without credentials is such a form.

        It must be a navigation by a browser with Fetch Metadata. The form of the page itself is
        not one: its site is the same.
        """
        headers = request.headers
        return (
            target.path in self._paths
            and request.method == "POST"
            and TOKEN_HEADER not in headers
            and headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")
            and headers.get("Sec-Fetch-Mode") == "navigate"
            and headers.get("Sec-Fetch-Dest") in ("document", "iframe")
            and request.content_type == _FORM
            and self._is_provider(headers.getall("Origin", ()))
        )

    def _is_provider(self, sent: Iterable[str]) -> bool:
        try:
            return [str(parse_origin(origin)) in self._origins for origin in sent] == [True]
        except ValueError:  # "null", for example
            return False


def _attribute(text: str) -> str:
    """``text`` for a quoted attribute; a parser would change its carriage returns."""
    return html.escape(text).replace("\r", "&#13;").replace("\n", "&#10;")


async def sent_again(request: web.Request) -> web.Response:
    """The page that sends the form of ``request`` again.

    Raises :class:`PayloadTooLarge`, :class:`BadRequest` for a form that is not UTF-8, and what
    reading the content raises.
    """
    if request.content_length is None or request.content_length > _MOST_BYTES:
        raise PayloadTooLarge
    content = await content_of(request)
    try:
        if b"%00" in content:
            raise ValueError("no document contains this character")
        fields = parse_qsl(
            content.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:
        raise BadRequest("The form of the sign-in provider can't be read.") from None
    inputs = "".join(
        f'\n<input type="hidden" name="{_attribute(name)}" value="{_attribute(value)}">'
        for name, value in fields
    )
    with i18n.using(i18n.context_of(request)) as context:
        page = _PAGE.format(
            language=context.language,
            title=html.escape(_("Signing you in")),
            detail=html.escape(_("Scripts are off in this browser. Continue with the button.")),
            button=html.escape(_("Continue")),
            fields=inputs,
            script=_SCRIPT,
        )
    return web.Response(text=page, content_type="text/html", headers=_HEADERS)

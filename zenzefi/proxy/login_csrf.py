"""Protection against login CSRF: only the gate's own pages and programs may sign a client in.

Another site can submit a form or a ``fetch()`` to the gate with the attacker's token (RFC 6749
section 10.12 describes the same attack on OAuth). Browsers name the source of a request in
``Sec-Fetch-Site``, ``Origin`` and ``Referer``; each of these headers must name the gate.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import hdrs, web

from zenzefi.gate_cookies import is_browser
from zenzefi.http.errors import CrossSiteRefused
from zenzefi.origin import PROXY_PREFIX, Origin


def require_same_origin(
    request: web.BaseRequest, public: Origin, *, is_shared: bool = False
) -> None:
    """Reject a request from another site, another origin, or a page under the prefix.

    ``is_shared``: browsers use the upstream at the gate's origin. A script of the upstream can then
    send any ``Referer`` of that origin (``history.replaceState``), so all browsers are rejected.
    Programs send none of these headers. Raises :class:`CrossSiteRefused`.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        raise CrossSiteRefused
    for name in (hdrs.ORIGIN, hdrs.REFERER):
        for sent in request.headers.getall(name, ()):
            _refuse_foreign(sent, request, public)
    if not is_browser(request.headers, request.headers.get(hdrs.USER_AGENT, "")):
        return
    # A fetch() with an untyped Blob is sent across sites without a preflight and without a type.
    if hdrs.CONTENT_TYPE not in request.headers:
        raise CrossSiteRefused
    if is_shared:
        raise CrossSiteRefused("Browsers are signed in from the account page here.")


def _refuse_foreign(sent: str, request: web.BaseRequest, public: Origin) -> None:
    try:
        parts = urlsplit(sent)
    except ValueError:
        raise CrossSiteRefused from None
    authority = parts.netloc.lower()
    if parts.scheme not in ("http", "https") or authority not in (
        request.host.lower(),
        public.authority,
    ):
        raise CrossSiteRefused
    if (parts.path + "/").startswith(PROXY_PREFIX + "/"):
        raise CrossSiteRefused

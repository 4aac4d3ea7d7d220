"""Requests that a browser makes by itself, which must not start the time of a token.

A token's time starts with the first request that its user makes. Browsers also make other
requests: for the icon of a page that names none, pages that the user may open next (prefetch
and prerender), and files of well-known names. Once a token is in use they pass like any other
request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_AUTOMATIC = re.compile(
    r"/favicon\.ico|/apple-touch-icon[a-z0-9x-]{0,40}\.png|/browserconfig\.xml|/robots\.txt"
    r"|/(?:\.well-known/)?(?:apple-app-site-association|assetlinks\.json)"
    r"|/\.well-known/(?:appspecific/[^/]{0,100}|change-password|traffic-advice|passkey-endpoints)"
)
_PURPOSES = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")


def is_unasked(headers: Mapping[str, str], path: str) -> bool:
    """Whether a browser makes this request without its user.

    ``path`` is the upstream's. Prefetches say so (``Sec-Purpose``, Fetch section 3.3, and its older
    names). Icons and well-known files count for browsers only, which send Fetch Metadata: a program
    that requests them wants them. So does a user who opens one in a window.
    """
    for name in _PURPOSES:
        purpose = headers.get(name, "").lower()
        if "prefetch" in purpose or "prerender" in purpose or "preview" in purpose:
            return True
    mode = headers.get("Sec-Fetch-Mode")
    return mode not in (None, "navigate") and _AUTOMATIC.fullmatch(path) is not None

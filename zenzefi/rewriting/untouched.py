"""Responses whose content must not be changed, whatever its type."""

from __future__ import annotations

import re

from zenzefi.rewriting.plugins.heads import ExchangeHead

_NO_TRANSFORM = re.compile(r"(?:^|,)[ \t]*no-transform[ \t]*(?:,|$)", re.I)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_ATTACHMENT = re.compile(r"[ \t]*attachment[ \t]*(?:;|$)", re.I)
# Browsers use these for a page, even as attachments: only documents and fetched files are saved.
_PARTS_OF_PAGES = {
    *("audio", "audioworklet", "font", "image", "json", "manifest", "paintworklet", "report"),
    *("script", "serviceworker", "sharedworker", "style", "track", "video", "worker", "xslt"),
}


def forbids_changes(exchange: ExchangeHead) -> bool:
    """Whether the response says ``no-transform``, which holds for every plugin."""
    values = exchange.response_headers.getall("Cache-Control", ())
    return any(
        "transform" in value.lower() and _NO_TRANSFORM.search(_QUOTED.sub("", value)) is not None
        for value in values
    )


def must_stay(exchange: ExchangeHead) -> bool:
    """Whether the content passes byte-identical, but for plugins that ask for attachments.

    ``Cache-Control: no-transform`` forbids to change it (RFC 9111, 5.2.2.6).
    ``Content-Disposition: attachment`` makes it a file to save (RFC 6266, 4.2), unless a page uses
    it as a style sheet, a script or the like: there browsers ignore the header.
    """
    if forbids_changes(exchange):
        return True
    disposition = exchange.response_headers.get("Content-Disposition")
    return (
        disposition is not None
        and _ATTACHMENT.match(disposition) is not None
        and exchange.destination not in _PARTS_OF_PAGES
    )

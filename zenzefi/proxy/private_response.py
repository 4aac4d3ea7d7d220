"""Mapped responses are for one browser: no shared cache may store them."""

from __future__ import annotations

from zenzefi.proxy.headers.response import for_one_browser
from zenzefi.proxy.rewriter import MappedResponse, UnchangedUnlessFound


def private(status: int, mapped: MappedResponse) -> MappedResponse:
    """The response with a ``Cache-Control`` for one browser; a 101 needs none."""
    if status == 101:
        return mapped
    unless_found = mapped.unless_found
    return mapped._replace(
        headers=for_one_browser(mapped.headers),
        unless_found=unless_found and _private_otherwise(status, unless_found),
    )


def _private_otherwise(status: int, unless_found: UnchangedUnlessFound) -> UnchangedUnlessFound:
    return unless_found._replace(otherwise=lambda: private(status, unless_found.otherwise()))

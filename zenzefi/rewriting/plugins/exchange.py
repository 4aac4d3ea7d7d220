"""A request with the head of its response, for the engine and the plugins."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from multidict import CIMultiDictProxy

from zenzefi.origin import Mount
from zenzefi.rewriting import csp, sniff
from zenzefi.rewriting.plugins.api import Context, Match
from zenzefi.rewriting.runtime.marks import NO_KEY
from zenzefi.rewriting.url_map import UrlMap

_CONTENT_TYPE = "Content-Type"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request with the head of its response.

    ``url`` is the absolute URL at the upstream, raw. ``destination`` is ``Sec-Fetch-Dest``, or
    ``None``. ``request_headers`` are the browser's, before the proxy changed them;
    ``response_headers`` are the upstream's. Before there is a response, ``status`` is 0. ``user``
    identifies the gate's user; it is never shown.
    """

    method: str
    url: str
    status: int
    mapper: UrlMap
    mount: Mount
    destination: str | None
    request_headers: CIMultiDictProxy[str]
    response_headers: CIMultiDictProxy[str]
    user: str = ""
    marks_key: str = NO_KEY
    """The gate's key for the marks of the upstream's origins (``zenzefi.rewriting.runtime``)."""


def context_of(
    exchange: Exchange,
    effective: str = "",
    encoding: str = "",
    permission: csp.Permission | None = None,
) -> Context:
    """The context of an exchange for plugins; ``effective`` and ``encoding`` once known."""
    if not effective and exchange.status:
        effective = sniff.essence(exchange.response_headers.get(_CONTENT_TYPE))
    return Context(
        method=exchange.method,
        url=exchange.url,
        path=urlsplit(exchange.url).path or "/",
        status=exchange.status,
        destination=exchange.destination,
        content_type=effective,
        charset="utf-8" if encoding.startswith("utf-16") else encoding or "utf-8",
        mount=exchange.mount,
        mapper=exchange.mapper,
        request_headers=exchange.request_headers,
        response_headers=exchange.response_headers,
        script_nonce=permission.nonce if permission else None,
        scripts_allowed=permission.allowed if permission else True,
        inline_hashes=permission.hashes if permission else None,
        marks_key=exchange.marks_key,
    )


def fits(match: Match, exchange: Exchange, *, labelled: bool = False) -> bool:
    """Whether a plugin matches an exchange; with ``labelled`` also by the declared content type.

    Bodies are matched by their effective type instead, once that is known.
    """
    if labelled and exchange.status and match.content_types:
        label = sniff.essence(exchange.response_headers.get(_CONTENT_TYPE))
        if not match.content_type(label):
            return False
    if not match.paths and not match.status and not match.destinations:
        return True
    path = urlsplit(exchange.url).path or "/"
    return match.request(path, exchange.status, exchange.destination)

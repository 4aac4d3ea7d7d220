"""A request with the head of its response, for the engine; and what lasts for a whole exchange."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from multidict import CIMultiDictProxy

from zenzefi.origin import Mount
from zenzefi.rewriting import sniff
from zenzefi.rewriting.plugins.client import UNKNOWN_CLIENT, ClientFacts
from zenzefi.rewriting.plugins.values import Match
from zenzefi.rewriting.runtime.marks import NO_KEY
from zenzefi.rewriting.url_map import UrlMap

if TYPE_CHECKING:
    from zenzefi.rewriting.plugins.exchange import Exchange

CONTENT_TYPE = "Content-Type"


@dataclass(slots=True, eq=False)
class ExchangeMemory:
    """What lasts from a request to the end of its response: one per request, never shared.

    ``id`` is the request's ID. ``by_plugin`` has the object that a plugin got, by its name.
    """

    id: str = ""
    by_plugin: dict[str, Exchange] = field(default_factory=dict)
    status: int = 0
    """The status of the response after the plugins; 0 if no plugin saw it."""


class ExchangeHead(NamedTuple):
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
    client: ClientFacts = UNKNOWN_CLIENT
    memory: ExchangeMemory | None = None
    """``None``: each hook call stands alone."""
    is_websocket: bool = False
    map_cookie: Callable[[str], str | None] | None = None
    """Maps a ``Set-Cookie`` value for this browser, ``None`` to drop it."""


def fits(match: Match, head: ExchangeHead, *, labelled: bool = False) -> bool:
    """Whether a plugin matches an exchange; with ``labelled`` also by the declared content type.

    Bodies are matched by their effective type instead, once that is known.
    """
    if labelled and head.status and match.content_types:
        label = sniff.essence(head.response_headers.get(CONTENT_TYPE))
        if not match.content_type(label):
            return False
    if not match.paths and not match.status and not match.destinations:
        return True
    path = urlsplit(head.url).path or "/"
    return match.request(path, head.status, head.destination)

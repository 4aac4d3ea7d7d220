"""Requests that missed the mount: a script built ``/x`` by itself, and the gate has no ``/x``.

They are recovered (307 to the mounted path) when the request shows where it came from, and
counted with page and address so that an operator sees what leaks.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property

from aiohttp import web

from zenzefi.bounded import BoundedDict
from zenzefi.observability.metrics import PROXY_UNMOUNTED_REQUESTS
from zenzefi.origin import PROXY_PREFIX

log = logging.getLogger(__name__)

_REFERER = re.compile(r"(?i)https?://([^/?#]*)([^?#]*)(?:[?#].*)?", re.DOTALL)
_MAX_ROWS = 512
_MAX_TEXT = 300  # characters kept of a page's or an address's path


@dataclass(frozen=True, slots=True)
class UnmountedRequest:
    """One row for the operator: this page requested this address outside the mount."""

    page: str
    path: str
    count: int


class UnmountedRequests:
    """Counts unmounted requests by page and path; bounded, the oldest are dropped first."""

    def __init__(self, max_rows: int = _MAX_ROWS) -> None:
        self._rows: BoundedDict[tuple[str, str], int] = BoundedDict(max_rows)
        self.total = 0

    def count(self, page: str, path: str) -> None:
        """One more."""
        key = (page[:_MAX_TEXT], path[:_MAX_TEXT])
        if key not in self._rows:
            log.info("request outside the mount: page=%s path=%s", page or "(unknown)", path)
        self._rows[key] = self._rows.get(key, 0) + 1
        self.total += 1
        PROXY_UNMOUNTED_REQUESTS.inc()

    def has_pages_that_compare_addresses(self) -> bool:
        """Whether a page requested its own address, without the mount.

        A router does so that reads ``location`` and finds a path that it does not know; the
        option ``address=upstream`` of the HTML plugin helps it.
        """
        return any(page == PROXY_PREFIX + path for page, path in self._rows)

    def rows(self) -> list[UnmountedRequest]:
        """The most frequent first."""
        rows = [UnmountedRequest(page, path, count) for (page, path), count in self._rows.items()]
        return sorted(rows, key=lambda row: -row.count)


def origin_page(
    headers: Mapping[str, str],
    host: str | None,
    *,
    has_cookie: bool,
    method: str = "",
    prefix: str = PROXY_PREFIX,
    own_pages: AbstractSet[str] = frozenset(),
) -> str | None:
    """The path of the mounted page that sent the request (``""`` if only known to be one).

    ``None`` means that nothing shows it came from under the mount. Evidence is, in this order: a
    Referer under the mount; the proxy cookie, unless fetch metadata says that another site asks.
    A link of another site counts, as a link into the mount does: sign-in providers lead back to
    ``location.origin + "/callback"``. Nothing but a GET of the page in the window is such a link.

    A page of the gate, whose path begins with one of ``own_pages``, is not under the mount; what it
    requests is not recovered, whatever cookie the browser sends with it.
    """
    # Not urlsplit(), which raises for some addresses.
    referer = _REFERER.fullmatch(headers.get("Referer", ""))
    if referer and referer[1].lower() == (host or "").lower():
        path = referer[2]
        if path.startswith(prefix + "/"):
            return path
        if first_segment(path) in own_pages:
            return None
    if not has_cookie:
        return None
    is_foreign = headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")
    return None if is_foreign and not _is_link(headers, method) else ""


def first_segment(path: str) -> str:
    """The first segment of a path: ``docs`` of ``/docs/x``."""
    return path[1:].partition("/")[0]


class OwnPages:
    """The paths of the gate's pages, which are known once all routes are mounted."""

    def __init__(self, router: web.UrlDispatcher) -> None:
        self._router = router

    @cached_property
    def names(self) -> frozenset[str]:
        """The first segments of these paths, without the front page and the API."""
        found = {first_segment(resource.canonical) for resource in self._router.resources()}
        return frozenset(found - {"", first_segment(PROXY_PREFIX)})


def _is_link(headers: Mapping[str, str], method: str) -> bool:
    """Whether it is a top-level navigation with GET (Fetch Metadata, 2.1 and 2.2)."""
    return (
        method == "GET"
        and headers.get("Sec-Fetch-Mode") == "navigate"
        and headers.get("Sec-Fetch-Dest") == "document"
    )


def reloads_front_page(headers: Mapping[str, str], method: str, raw: str) -> bool:
    """Whether a browser reloads ``/`` as a page.

    With ``address=upstream``, the address bar shows ``/`` for the application's front page. A
    reload requests it from the gate, which has a front page too. Browsers mark a reload by
    ``Cache-Control``: ``max-age=0``, or ``no-cache`` if it bypasses the cache.
    """
    return (
        raw == "/"
        and method == "GET"
        and headers.get("Sec-Fetch-Dest") == "document"
        and headers.get("Cache-Control") in ("max-age=0", "no-cache")
    )

"""The cases: the request, the programs that get it, and the checks of the response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum, auto

from bench.proxy.content import BODIES, PAGES
from bench.rewriting import documents, pages

GATE = "zenzefi"


class Kind(StrEnum):
    """How the load is made. It names the unit of the rate, too."""

    REQUESTS = auto()
    DOWNLOAD = auto()
    UPLOAD = auto()
    MESSAGES = auto()


class Group(StrEnum):
    """Programs that are measured in the same cases."""

    GATE = auto()
    """The gate as it is installed: in every case."""
    VARIANT = auto()
    """The gate with one more function switched on."""
    SERVER = auto()
    """Proxies in C and Go that pass bytes."""
    FILTER = auto()
    """Proxies that replace text in bodies."""
    PROXY = auto()
    """All others."""


class Effect(StrEnum):
    """The gate's effect on the body."""

    SAME = auto()
    MAPPED = auto()
    ANY = auto()


_EVERYONE = frozenset(Group) - {Group.VARIANT, Group.FILTER}
_SERVERS = frozenset({Group.GATE, Group.SERVER})
_FILTERS = frozenset({Group.GATE, Group.FILTER})
_ALONE = frozenset({Group.GATE})


@dataclass(frozen=True)
class Case:
    """One case. ``is_new``: each request has a header value that was never sent before."""

    name: str
    path: str
    groups: frozenset[Group]
    kind: Kind = Kind.REQUESTS
    method: str = "GET"
    body: bytes = b""
    is_gzip: bool = False
    is_new: bool = False
    at_root: bool = False
    effect: Effect = Effect.SAME
    size: int = 0
    """Bytes of one WebSocket message."""
    engine: tuple[str, Callable[[int], bytes], int] | None = None
    """The same body for the engine alone: its kind, generator and size."""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Header fields of the request in addition to those of the target."""
        sent = [("Accept-Encoding", "gzip")] if self.is_gzip else []
        if self.body:
            sent.append(("Content-Type", "application/json"))
        return tuple(sent)

    def fault(self, status: int, body: bytes, *, is_gate: bool) -> str | None:
        """The fault of a response whose content coding was removed; ``None`` for a right one."""
        if status not in (200, 204):
            return f"status {status}"
        sent = BODIES[self.path][2] if self.path in BODIES else None
        if sent is None or not is_gate or self.effect is Effect.ANY:
            return None
        if (body == sent) != (self.effect is Effect.SAME):
            return "the body was changed" if self.effect is Effect.SAME else "nothing was mapped"
        return None


def _order(size: int) -> bytes:
    """JSON of exactly ``size`` bytes."""
    return documents.json(size * 9 // 10).ljust(size)


def _page(size: int, *, is_gzip: bool = False) -> Case:
    return Case(
        f"HTML {size} KB{' gzip' if is_gzip else ''}, prefix",
        f"/guide/{size}k.html",
        _FILTERS,
        is_gzip=is_gzip,
        effect=Effect.MAPPED,
        engine=("html", pages.manual, PAGES[size]),
    )


_HEADLINE = _EVERYONE | {Group.VARIANT}

CASES = [
    Case("JSON 1 KB", "/api/items-1k", _HEADLINE),
    Case("PNG 1 KB", "/static/1k.png", _HEADLINE),
    Case("PNG 1 KB, new headers", "/static/1k.png", _SERVERS, is_new=True),
    Case("JSON 20 KB", "/api/items-20k", _SERVERS),
    Case("JavaScript 19 KB", "/static/app.js", _SERVERS),
    Case("PNG 20 KB", "/static/20k.png", _SERVERS),
    Case("PNG 100 KB", "/static/100k.png", _EVERYONE),
    Case("POST 1 KB", "/api/orders", _SERVERS, method="POST", body=_order(1024)),
    Case("POST 64 KB", "/api/orders", _SERVERS, method="POST", body=_order(65536)),
    Case(
        "CSS 15 KB, prefix",
        "/static/main.css",
        _FILTERS,
        effect=Effect.MAPPED,
        engine=("css", documents.css, 15_000),
    ),
    Case("CSS 15 KB, root", "/static/main.css", _SERVERS, at_root=True),
    *(_page(size) for size in PAGES),
    _page(20, is_gzip=True),
    Case("HTML 20 KB, root", "/guide/20k.html", _SERVERS, at_root=True, effect=Effect.ANY),
    Case(
        "HTML 20 KB gzip, root",
        "/guide/20k.html",
        _SERVERS,
        is_gzip=True,
        at_root=True,
        effect=Effect.ANY,
    ),
    Case("HTML 20 KB seen, ETag", "/guide/seen-etag.html", _ALONE, effect=Effect.MAPPED),
    Case("HTML 20 KB seen, no ETag", "/guide/seen.html", _ALONE, effect=Effect.MAPPED),
    Case("128 MB down", "/128m", _EVERYONE, Kind.DOWNLOAD),
    Case("128 MB up", "/sink", _EVERYONE, Kind.UPLOAD, method="POST"),
    Case("WebSocket 100 B", "/echo", _EVERYONE, Kind.MESSAGES, size=100),
    Case("WebSocket 64 KB", "/echo", _EVERYONE, Kind.MESSAGES, size=65536),
]
"""In the order of the tables."""

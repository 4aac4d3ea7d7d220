"""The rewriting engine for tests: an exchange with the upstream, and its rewritten body."""

from __future__ import annotations

from typing import Any

from multidict import CIMultiDict, CIMultiDictProxy

from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.rewriting.engine import Engine, ExchangeHead
from zenzefi.rewriting.urls import UrlMapper

UPSTREAM = Origin("https", "app.example", 443)
GATE = Origin("http", "gate.example", 8000)
PREFIX = Mount(MountKind.PREFIX, GATE, "/api/v1/proxy")
ROOT = Mount(MountKind.ORIGIN, Origin("https", "seen.example", 443))


def exchange(
    response: dict[str, str],
    request: dict[str, str] | None = None,
    mount: Mount = PREFIX,
    **changes: Any,
) -> ExchangeHead:
    """A GET request and its response, with these headers and other ``changes``."""
    fields: dict[str, Any] = {
        "method": "GET",
        "url": "https://app.example/dir/page?q=1",
        "status": 200,
        "mapper": UrlMapper(UPSTREAM, mount),
        "mount": mount,
        "destination": None,
        "request_headers": CIMultiDictProxy(CIMultiDict(request or {})),
        "response_headers": CIMultiDictProxy(CIMultiDict(response)),
    }
    return ExchangeHead(**{**fields, **changes})


def rewrite_body(engine: Engine, exchanged: ExchangeHead, data: bytes, size: int = 65536) -> bytes:
    """The rewritten body, fed in chunks of ``size`` bytes."""
    rewrite = engine.plan(exchanged)
    assert rewrite is not None
    parts = [rewrite.feed(data[i : i + size]) for i in range(0, len(data), size)]
    return b"".join(parts) + rewrite.finish()

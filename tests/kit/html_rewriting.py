"""The HTML rewriter for tests: a document in, the rewritten document out, in chunks of any size."""

from __future__ import annotations

from typing import Any

from tests.kit.scanner_feed import ScannerFeed
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.rewriting.html import HtmlOptions, HtmlScanner
from zenzefi.rewriting.scanner import rewrite_whole
from zenzefi.rewriting.urls import UrlMapper

UPSTREAM = Origin("http", "app.test", 80)
PREFIX = Mount(MountKind.PREFIX, Origin("http", "gate.test", 8000), "/m")
ROOT = Mount(MountKind.ORIGIN, Origin("http", "seen.test", 80))
PAGE = "http://app.test/dir/page.html"
HEAD = b"<script src=/m/r.js></script>"


def scanner(mount: Any = PREFIX, **options: Any) -> Any:
    """A scanner of a document at ``PAGE``."""
    return HtmlScanner(UrlMapper(UPSTREAM, mount), mount, PAGE, HtmlOptions(**options))


def rewrite_html(
    html: str | bytes, size: int | None = None, mount: Any = PREFIX, **options: Any
) -> str:
    """The rewritten document; fed in chunks of ``size`` bytes, or as a whole."""
    data = html.encode() if isinstance(html, str) else html
    if size is None:
        return rewrite_whole(scanner(mount, **options), data).decode("utf-8", "surrogateescape")
    feed = ScannerFeed(scanner(mount, **options))
    out = [feed.feed(data[i : i + size]) for i in range(0, len(data), size)]
    return (b"".join(out) + feed.finish()).decode("utf-8", "surrogateescape")

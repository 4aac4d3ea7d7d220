"""The upstream's responses with the kinds of content that applications send.

Everything is generated and identical in every run. Pages and style sheets forbid storing, so that a
proxy does its work again for every request; two pages may be stored, one with a strong ETag.
"""

from __future__ import annotations

import gzip
import random
import struct
import zlib

from bench.rewriting import documents, pages

PAGES = {20: 20_000, 57: 57_000, 230: 230_000, 707: 707_000}
"""Documentation pages: size in KB, as the cases name it, and in bytes."""

_HEAD = (
    "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    "Content-Type: {}\r\n{}Content-Length: {}\r\n\r\n"
)
_STORED = 'Cache-Control: max-age=60\r\nETag: "bench"\r\n'
_NEVER_STORED = "Cache-Control: no-store\r\n"


def png(size: int) -> bytes:
    """A grey PNG image of about ``size`` bytes with noise, which does not compress."""
    width = 64
    height = max(1, (size - 80) // (width + 1))
    noise = random.Random(size)
    rows = b"".join(b"\0" + noise.randbytes(width) for _ in range(height))
    header = struct.pack("!IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _bodies() -> dict[str, tuple[str, str, bytes]]:
    """Path to type, further header lines, and body."""
    page = pages.manual(PAGES[20])
    bodies = {
        "/1k": ("application/octet-stream", _STORED, bytes(1024)),
        "/api/items-1k": ("application/json", _STORED, documents.json(900)),
        "/api/items-20k": ("application/json", _STORED, documents.json(20_000)),
        "/api/orders": ("application/json", _NEVER_STORED, documents.json(900)),
        "/static/app.js": ("text/javascript", _STORED, documents.javascript(19_000)),
        "/static/main.css": ("text/css", _NEVER_STORED, documents.css(15_000)),
        "/static/1k.png": ("image/png", _STORED, png(1_000)),
        "/static/20k.png": ("image/png", _STORED, png(20_000)),
        "/static/100k.png": ("image/png", _STORED, png(100_000)),
        "/guide/seen-etag.html": ("text/html; charset=utf-8", _STORED, page),
        "/guide/seen.html": ("text/html; charset=utf-8", "Cache-Control: max-age=60\r\n", page),
    }
    for name, size in PAGES.items():
        body = pages.manual(size)
        bodies[f"/guide/{name}k.html"] = ("text/html; charset=utf-8", _NEVER_STORED, body)
    return bodies


BODIES = _bodies()


def plain() -> dict[bytes, bytes]:
    """Path to complete response."""
    return {path.encode(): _response(*parts) for path, parts in BODIES.items()}


def gzipped() -> dict[bytes, bytes]:
    """The same for a client that accepts gzip: pages only."""
    return {
        path.encode(): _response(
            kind, more + "Content-Encoding: gzip\r\n", gzip.compress(body, 6, mtime=0)
        )
        for path, (kind, more, body) in BODIES.items()
        if path.startswith("/guide/")
    }


def _response(kind: str, more: str, body: bytes) -> bytes:
    return _HEAD.format(kind, more, len(body)).encode() + body

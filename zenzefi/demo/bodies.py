"""Bodies: every content coding, a large download with ranges, validators."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Callable

import brotli
import zstandard
from aiohttp import web

from zenzefi.demo.render import origin_of

routes = web.RouteTableDef()


def _deflate(data: bytes) -> bytes:
    return zlib.compress(data, 6)


def _raw_deflate(data: bytes) -> bytes:
    """``deflate`` as some servers send it, without the zlib wrapper (RFC 9110, 8.4.1.2)."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=6).compress(data)


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "identity": ("", bytes),
    "gzip": ("gzip", lambda data: gzip.compress(data, 6, mtime=0)),
    "deflate": ("deflate", _deflate),
    "raw-deflate": ("deflate", _raw_deflate),
    "br": ("br", lambda data: brotli.compress(data, quality=5)),
    "zstd": ("zstd", _zstd),
}
"""Name in the path -> ``Content-Encoding`` and the encoder."""

MAX_DOWNLOAD = 8 * 1024**3
_BLOCK = hashlib.sha256(b"lantern and tide").digest() * 2048  # 64 KiB
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def download_bytes(start: int, stop: int) -> bytes:
    """The bytes ``start`` to ``stop`` (exclusive) of the endless download: it repeats a block."""
    size = len(_BLOCK)
    first = start % size
    repeated = _BLOCK * ((first + stop - start) // size + 1)
    return repeated[first : first + stop - start]


@routes.get("/encodings/{coding}")
async def encoded(request: web.Request) -> web.Response:
    """A page sent in the named content coding, even if the client does not accept it."""
    found = CODINGS.get(request.match_info["coding"])
    if found is None:
        raise web.HTTPNotFound(text=f"Codings here: {', '.join(CODINGS)}")
    header, pack = found
    origin = origin_of(request)
    rows = "".join(
        f'<li><a href="{origin}/encodings/{name}">{name}</a>, '
        f'<a href="/encodings/{name}">rooted</a>'
        for name in CODINGS
    )
    html = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Content codings</title>'
        '<meta name="viewport" content="width=device-width">'
        '<link rel="icon" href="/static/img/logo.svg">'
        '<link rel="stylesheet" href="/static/css/main.css"><main>'
        f"<h1>Sent as <code>{request.match_info['coding']}</code></h1>"
        f'<p class=lead>The same page in every content coding. <a href="../archive/">Back</a></p>'
        f"<ul>{rows}</ul>" + "<p>The tide comes in, the tide goes out.</p>" * 40 + "</main></html>"
    )
    headers = {"Vary": "Accept-Encoding"} | ({"Content-Encoding": header} if header else {})
    return web.Response(
        body=pack(html.encode()), content_type="text/html", charset="utf-8", headers=headers
    )


def _wanted(header: str | None, size: int) -> tuple[int, int] | None:
    """The requested range as (start, stop), or ``None`` for the whole (RFC 9110, 14.2)."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.group(0) == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1 if last else size)


@routes.get("/downloads/tides.bin")
async def download(request: web.Request) -> web.StreamResponse:
    """A download of ``?size=`` bytes (default 32 MiB, at most 8 GiB), streamed, with ranges."""
    try:
        size = int(request.query.get("size", 32 * 1024 * 1024))
    except ValueError:
        raise web.HTTPBadRequest(text="size is a number of bytes") from None
    if not 0 <= size <= MAX_DOWNLOAD:
        raise web.HTTPBadRequest(text=f"size is 0 to {MAX_DOWNLOAD}")
    etag = f'"tides-{size}"'
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": 'attachment; filename="tides.bin"',
        "Accept-Ranges": "bytes",
        "ETag": etag,
    }
    if request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers={"ETag": etag})
    wanted = None
    if request.headers.get("If-Range", etag) == etag:
        wanted = _wanted(request.headers.get("Range"), size)
    start, stop, status = 0, size, 200
    if wanted is not None:
        start, stop = wanted
        if start >= size or start >= stop:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
        status = 206
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = stop - start
    await response.prepare(request)
    if request.method != "HEAD":
        while start < stop:
            end = min(stop, start + 256 * 1024)
            await response.write(download_bytes(start, end))
            start = end
        await response.write_eof()
    return response

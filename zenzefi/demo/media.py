"""Computed images, and a playlist with its segments."""

from __future__ import annotations

import functools
import math
import struct
import zlib

from aiohttp import web

from zenzefi.demo.render import origin_of

routes = web.RouteTableDef()


def png(width: int, height: int, rows: bytes) -> bytes:
    """A PNG (W3C PNG 3rd edition) of 8-bit RGBA ``rows``: ``width * height * 4`` bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    stride = width * 4
    lines = b"".join(b"\0" + rows[start : start + stride] for start in range(0, len(rows), stride))
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(lines, 9))
        + chunk(b"IEND", b"")
    )


@functools.lru_cache(maxsize=16)
def tide_chart(width: int) -> bytes:
    """A picture of the sea at ``width`` pixels, twice as wide as high."""
    height = width // 2
    rows = bytearray()
    for y in range(height):
        for x in range(width):
            level = height * (
                0.52 + 0.16 * math.sin(6.3 * x / width) + 0.03 * math.sin(31 * x / width)
            )
            if y > level:
                depth = (y - level) / height
                rows += bytes((20, int(96 - 70 * depth), int(130 - 60 * depth), 255))
            else:
                rows += bytes((250, int(210 + 35 * y / height), int(150 + 70 * y / height), 255))
    return png(width, height, bytes(rows))


@functools.lru_cache(maxsize=4)
def dots(size: int) -> bytes:
    """A tile with one dot."""
    middle, radius = (size - 1) / 2, size / 8
    rows = b"".join(
        b"\xd9\x8a\x12\xff" if math.hypot(x - middle, y - middle) <= radius else b"\0\0\0\0"
        for y in range(size)
        for x in range(size)
    )
    return png(size, size, rows)


@routes.get(r"/media/tide-{width:\d+}w.png")
async def tide_image(request: web.Request) -> web.Response:
    """The chart in one of the widths in ``srcset``."""
    width = int(request.match_info["width"])
    if width not in (160, 320, 640):
        raise web.HTTPNotFound(text="Widths here: 160, 320, 640")
    return web.Response(
        body=tide_chart(width), content_type="image/png", headers={"Cache-Control": "max-age=60"}
    )


@routes.get("/static/img/dots.png")
@routes.get("/static/img/dots@2x.png")
async def dot_tile(request: web.Request) -> web.Response:
    """The background tile."""
    return web.Response(body=dots(48 if "@2x" in request.path else 24), content_type="image/png")


@routes.get("/media/horn.m3u8")
async def master_playlist(request: web.Request) -> web.Response:
    """An HLS master playlist (RFC 8216): absolute, rooted and relative names."""
    origin = origin_of(request)
    text = (
        "#EXTM3U\n#EXT-X-VERSION:4\n"
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="horn",NAME="Fog horn",'
        'URI="/media/horn-low.m3u8"\n'
        f'#EXT-X-STREAM-INF:BANDWIDTH=64000,AUDIO="horn"\n{origin}/media/horn-low.m3u8\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=128000,AUDIO="horn"\nhorn-high.m3u8\n'
    )
    return web.Response(text=text, content_type="application/vnd.apple.mpegurl")


@routes.get(r"/media/horn-{quality:low|high}.m3u8")
async def media_playlist(request: web.Request) -> web.Response:
    """A media playlist with a key, a map and three segments."""
    origin = origin_of(request)
    text = (
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-PLAYLIST-TYPE:VOD\n"
        f'#EXT-X-MAP:URI="{origin}/media/init.bin"\n'
        "#EXTINF:2.0,\n/media/segment-1.bin\n#EXTINF:2.0,\nsegment-2.bin\n"
        f"#EXTINF:2.0,\n{origin}/media/segment-3.bin?from=hls\n#EXT-X-ENDLIST\n"
    )
    return web.Response(text=text, content_type="application/vnd.apple.mpegurl")


@routes.get(r"/media/{name:init|segment-\d}.bin")
async def segment(request: web.Request) -> web.Response:
    """A segment: its name, repeated."""
    return web.Response(
        body=request.match_info["name"].encode() * 100, content_type="application/octet-stream"
    )


@routes.get("/media/buoy.svg")
async def buoy(request: web.Request) -> web.Response:
    """An SVG that refers to other files: absolute, rooted, relative, and by ``xlink:href``."""
    origin = origin_of(request)
    text = f"""<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
  viewBox="0 0 120 60">
  <style>.sea {{ fill: #0f4c66 }}</style>
  <rect class="sea" y="34" width="120" height="26"/>
  <a href="/lights/"><path d="M50 40 60 10l10 30z" fill="#b8492f"/></a>
  <a xlink:href="{origin}/live/"><circle cx="60" cy="8" r="4" fill="#f2b450"/></a>
  <use href="../static/img/sprite.svg#star" x="84" y="4" width="16" height="16"/>
</svg>
"""
    return web.Response(text=text, content_type="image/svg+xml")

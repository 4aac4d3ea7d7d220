"""Static files of the pages (style sheet, script, icon), in memory and compressed once.

The URL of a file contains a hash of its content. Browsers can therefore cache it for a year; a new
version of the gate has new URLs (RFC 9111, 5.2.2; ``immutable`` is RFC 8246).
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import brotli
from aiohttp import web

from zenzefi.branding import Brand
from zenzefi.errors import NotFound
from zenzefi.http_syntax import weights

FOLDER = Path(__file__).resolve().parent / "static"
PREFIX = "/account/assets"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
# A picture opened by itself is a document: it runs no script and loads nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file with its content codings."""

    url: str
    content_type: str
    plain: bytes
    coded: Mapping[str, bytes]


@lru_cache(maxsize=16)
def _coded(body: bytes) -> Mapping[str, bytes]:
    """The content codings of a file; kept, because applications of one process have the same."""
    return {"br": brotli.compress(body), "gzip": gzip.compress(body, mtime=0)}


class Assets:
    """All files of one folder, read at start, and those of the brand."""

    def __init__(self, folder: Path = FOLDER, brand: Brand | None = None) -> None:
        self._by_name: dict[str, Asset] = {}
        self._by_url: dict[str, Asset] = {}
        for path in sorted(folder.iterdir()):
            if path.suffix in _TYPES:
                self._add(path.name, path.read_bytes())
        for image in () if brand is None else (brand.logo, brand.icon):
            if image is not None:
                self._add(image.name, image.content)
        if brand is not None and brand.css:
            self._add("brand.css", brand.css.encode())

    def _add(self, name: str, body: bytes) -> None:
        stem, suffix = Path(name).stem, Path(name).suffix
        digest = hashlib.sha256(body).hexdigest()[:12]
        asset = Asset(
            url=f"{PREFIX}/{stem}.{digest}{suffix}",
            content_type=_TYPES[suffix],
            plain=body,
            coded={} if suffix == ".png" else _coded(body),
        )
        self._by_name[name] = asset
        self._by_url[asset.url] = asset

    def url(self, name: str) -> str:
        """URL path of a file. Raises ``KeyError`` for an unknown name."""
        return self._by_name[name].url

    async def serve(self, request: web.Request) -> web.Response:
        """Serve a file. An outdated hash is 404: a URL never has two contents."""
        asset = self._by_url.get(request.path)
        if asset is None:
            raise NotFound
        headers = {
            "Content-Type": asset.content_type,
            "Cache-Control": "public, max-age=31536000, immutable",
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Content-Security-Policy": _POLICY,
        }
        accepted = weights(request.headers.get("Accept-Encoding", ""))
        for coding, body in asset.coded.items():
            if accepted.get(coding, 0) > 0:
                headers["Content-Encoding"] = coding
                return web.Response(body=body, headers=headers)
        return web.Response(body=asset.plain, headers=headers)


ASSETS: web.AppKey[Assets] = web.AppKey("assets", Assets)

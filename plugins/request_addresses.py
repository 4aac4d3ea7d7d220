"""Addresses in what pages send: texts of editors, forms, JSON. Off by default; enable it:

PLUGIN_OPTIONS={"request-addresses": {"enabled": true}}

A page may send addresses that it read, which have the mount in them (``location.href``, an image in
an editor with absolute addresses). The application gets its own addresses instead. It is a search
in texts: a user who writes about the gate's own address has that changed as well. Signed and
compressed contents stay, and so do files in forms.
"""

from __future__ import annotations

import asyncio
from typing import Literal

from pydantic import Field

from zenzefi.plugins import (
    ContentWayBack,
    Exchange,
    Plugin,
    PluginOptions,
    content_way_back,
    way_back,
)

_SIGNED = (
    *("content-digest", "repr-digest", "digest", "content-md5"),
    *("signature-input", "x-amz-content-sha256", "x-hub-signature-256", "x-signature"),
)
_KEY = "way back"
_STEP = 64 * 1024


class RequestAddresses(Plugin):
    """Maps addresses in the contents of requests."""

    name = "request-addresses"
    enabled = False

    class Options(PluginOptions):
        """``types``: content types or globs. ``paths``: globs over paths; all by default.
        ``longer``: what happens to a content above 1 MiB. ``pass`` leaves it as it is; ``stream``
        maps it on its way, and sends it in chunks, which some servers do not accept."""

        types: tuple[str, ...] = Field(
            (
                *("text/html", "text/plain", "application/json", "application/*+json"),
                *("application/x-www-form-urlencoded", "multipart/form-data"),
            ),
            min_length=1,
        )
        paths: tuple[str, ...] = ()
        longer: Literal["pass", "stream"] = "pass"

    options: Options

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.request_types = options.types
        self.changes_length = options.longer == "stream"

    def _way_back(self, exchange: Exchange) -> ContentWayBack | None:
        headers, paths = exchange.request_headers, self.options.paths
        if any(name in headers for name in _SIGNED):
            return None
        if headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            return None
        if paths and not exchange.path_matches(*paths):
            return None
        back = way_back(exchange.upstream, exchange.mount)
        return content_way_back(back, headers.get("Content-Type", ""))

    async def request_body(self, exchange: Exchange, body: bytes) -> bytes | None:
        """The whole content with its addresses mapped, in steps of a few milliseconds."""
        found = self._way_back(exchange)
        exchange.state[_KEY] = None  # request_chunk() has nothing left to do
        if found is None:
            return None
        out = []
        for start in range(0, len(body), _STEP):
            out.append(found.feed(body[start : start + _STEP], is_last=False))
            await asyncio.sleep(0)
        return b"".join((*out, found.feed(b"", is_last=True)))

    def request_chunk(self, exchange: Exchange, data: bytes, final: bool) -> bytes | None:
        """A piece of a longer content, mapped if the option says so."""
        if not self.changes_length:
            return None
        state = exchange.state
        if _KEY not in state:
            state[_KEY] = self._way_back(exchange)
        found: ContentWayBack | None = state[_KEY]
        return None if found is None else found.feed(data, is_last=final)

"""Addresses in WebSocket messages. Off by default; enable it:

PLUGIN_OPTIONS={"websocket-addresses": {"enabled": true}}

A page may send its own address (``location.href``), which has the mount in it; the application gets
its own address instead. In messages to the page, absolute addresses of the application are mapped.
Frames are parsed for it, so a message costs more than one that is only relayed.
"""

from __future__ import annotations

from typing import Literal

from zenzefi.plugins import (
    Context,
    Message,
    OriginScanner,
    Plugin,
    PluginOptions,
    rewrite_whole,
    way_back,
)


class WebSocketAddresses(Plugin):
    """Maps addresses in text messages, in both directions."""

    name = "websocket-addresses"
    enabled = False

    class Options(PluginOptions):
        """``direction``: which messages are mapped."""

        direction: Literal["to_upstream", "to_browser", "both"] = "both"

    options: Options

    def websocket_message(self, context: Context, message: Message) -> str | bytes | None:
        """The message with its addresses mapped; binary messages stay."""
        data = message.data
        if isinstance(data, bytes) or self.options.direction not in ("both", message.direction):
            return data
        if message.direction == "to_upstream":
            return way_back(context.upstream, context.mount).unmap_text(data)
        return rewrite_whole(OriginScanner(context.origins, context.mount), data.encode()).decode()

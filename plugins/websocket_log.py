"""Example of ``websocket_message``: log WebSocket messages. Off by default; enable it:

PLUGIN_OPTIONS={"websocket-log": {"enabled": true}}

Messages may contain secrets: without ``text`` only direction, kind and length are logged.
"""

from __future__ import annotations

import logging

from pydantic import Field

from zenzefi.plugins import Context, Message, Plugin, PluginOptions

logger = logging.getLogger("zenzefi.plugins.websocket_log")


class WebSocketLog(Plugin):
    """Logs every message and forwards it."""

    name = "websocket-log"
    enabled = False

    class Options(PluginOptions):
        """Whether the text of messages is logged."""

        text: bool = False
        longest: int = Field(200, ge=1, le=10_000)

    options: Options

    def websocket_message(self, context: Context, message: Message) -> str | bytes | None:
        """Log the message and return it unchanged."""
        kind = "text" if isinstance(message.data, str) else "binary"
        shown = f": {message.data[: self.options.longest]!r}" if self.options.text else ""
        logger.info(
            "%s %s %s, %d long%s", context.path, message.direction, kind, len(message.data), shown
        )
        return message.data

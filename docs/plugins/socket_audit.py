"""Logs how each WebSocket was used: by whom, how many messages, and how it ended."""

from __future__ import annotations

import logging

from zenzefi.plugins import Message, Plugin, Socket

logger = logging.getLogger("zenzefi.plugins.socket_audit")


class SocketAudit(Plugin):
    """The texts of messages are not logged."""

    name = "socket-audit"

    def websocket_open(self, socket: Socket) -> None:
        """Begin to count."""
        socket.state["messages"] = 0

    def websocket_message(self, socket: Socket, message: Message) -> str | bytes:
        """Count, and pass it on."""
        socket.state["messages"] += 1
        return message.data

    def websocket_close(self, socket: Socket, code: int | None) -> None:
        """Log one line."""
        logger.info(
            "websocket ended: user=%s path=%s messages=%d code=%s",
            socket.client.user_id,
            socket.path,
            socket.state["messages"],
            code,
        )

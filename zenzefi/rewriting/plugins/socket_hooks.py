"""The hooks of one WebSocket: open, each message, close."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from zenzefi.rewriting.plugins.checks import SOCKET_HOOKS
from zenzefi.rewriting.plugins.heads import ExchangeHead, fits
from zenzefi.rewriting.plugins.hooks import call
from zenzefi.rewriting.plugins.loaded import LoadedPlugin
from zenzefi.rewriting.plugins.messages import Direction, Socket, SocketLink
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.plugins.results import as_bytes, check_message
from zenzefi.rewriting.plugins.values import Message


def socket_hooks(registry: Registry, head: ExchangeHead) -> SocketHooks | None:
    """The hooks of a WebSocket; ``None`` if no plugin has some, so that frames pass raw."""
    hooked = {entry for hook in SOCKET_HOOKS for entry in registry.with_hook(hook)}
    wanted = [e for e in registry.entries if e in hooked and fits(e.plugin.matches, head)]
    return SocketHooks(wanted, head) if wanted else None


class SocketHooks:
    """The plugins of one WebSocket, each with its one :class:`Socket`."""

    def __init__(self, entries: Sequence[LoadedPlugin], head: ExchangeHead) -> None:
        self._url = head.url
        self._sockets: list[tuple[LoadedPlugin, Socket]] = []
        for entry in entries:
            socket = entry.exchange(head)
            if isinstance(socket, Socket):
                self._sockets.append((entry, socket))
        self._is_over = False

    def opened(self, link: SocketLink) -> None:
        """The handshake is done; ``link`` sends and closes."""
        for entry, socket in self._sockets:
            if not entry.shadow:
                socket._connect(link)
            if entry.takes(self._url):
                hook = entry.traced(entry.plugin.websocket_open, self._url)
                call(entry, lambda hook=hook, socket=socket: hook(socket), self._url)  # type: ignore[misc]  # defaults bind the loop's variables

    def message(self, direction: Direction, data: str | bytes) -> str | bytes | None:
        """A message after the plugins; ``None`` drops it."""
        message = Message(direction=direction, data=data)
        for entry, socket in self._sockets:
            if not entry.takes(self._url):
                continue

            def ask(
                entry: LoadedPlugin = entry, socket: Socket = socket, message: Message = message
            ) -> tuple[str | bytes | None]:
                hook = entry.traced(entry.plugin.websocket_message, self._url)
                data = hook(socket, message)
                check_message(data)
                return (data,)

            got = call(entry, ask, self._url)
            if got is None:
                continue
            (changed,) = got
            if entry.shadow:
                if changed != message.data:
                    entry.shadowed(as_bytes(message.data), as_bytes(changed))
            elif changed is None:
                return None
            else:
                message = replace(message, data=changed)
        return message.data

    def closed(self, code: int | None) -> None:
        """The WebSocket has ended; ``code``: of its first close frame. Later calls do nothing."""
        if self._is_over:
            return
        self._is_over = True
        for entry, socket in self._sockets:
            socket._connect(None)
            if entry.takes(self._url):
                hook = entry.traced(entry.plugin.websocket_close, self._url)
                call(entry, lambda hook=hook, socket=socket: hook(socket, code), self._url)  # type: ignore[misc]  # as above

"""Going away without losing a request.

SIGTERM under load: readiness goes off, the listeners close, every answer from now on ends its
connection (RFC 9112, 9.6), what is in flight finishes, WebSockets are told 1001 (RFC 6455, 7.4.1),
event streams end, batches are flushed, and a deadline bounds it all.

Whoever keeps something open or unwritten takes part by aiohttp's own signals: ``on_shutdown`` (the
listeners are closed, close your streams) and ``on_cleanup`` (nothing runs any more).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from zenzefi.http.expect_continue import not_yet
from zenzefi.runtime import descriptors

log = logging.getLogger(__name__)

IDLE_GRACE = 2.0
"""Seconds for which idle keep-alive connections may still bring a request that is on its way."""


class Drain:
    """Whether this node is going away. ``app[DRAIN].is_draining`` is cheap enough for every answer.

    ``/readyz`` asks it, and a handler that writes past aiohttp's responses must send
    ``Connection: close`` while it is set.
    """

    __slots__ = ("is_draining",)

    def __init__(self) -> None:
        self.is_draining = False


DRAIN: web.AppKey[Drain] = web.AppKey("drain", Drain)

HandlerFactory = Callable[..., RequestHandler]
REQUEST_HANDLER: web.AppKey[HandlerFactory] = web.AppKey("request_handler")
"""What speaks HTTP on each connection: aiohttp's ``RequestHandler`` or a subclass of it, called as
``factory(server, loop=loop, **options)``."""


def setup(app: web.Application) -> None:
    """Give the application its drain state."""
    drain = app[DRAIN] = Drain()

    async def end_the_connection(request: web.Request, response: web.StreamResponse) -> None:
        if drain.is_draining and response.status != 101:
            response.force_close()
            # aiohttp has written its Connection header before this signal.
            response.headers["Connection"] = "close"

    app.on_response_prepare.append(end_the_connection)


class GateServer(web.Server):
    """aiohttp's low-level server with a choice of what speaks HTTP on a connection."""

    def __init__(self, *args: Any, factory: HandlerFactory, **options: Any) -> None:
        super().__init__(*args, **options)
        self._factory = factory

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """A client has connected."""
        super().connection_made(handler, transport)
        descriptors.accepted(self, transport)

    def __call__(self) -> RequestHandler:
        """What speaks on one new connection."""
        return self._factory(self, loop=self._loop, **self._kwargs)


class GateRunner(web.AppRunner):
    """Runs the application; its clean-up is the drain described above.

    ``drain_delay``: seconds for which new connections are still taken after readiness went off, so
    that a load balancer that polls ``/readyz`` notices first. ``drain_timeout``: seconds that
    requests in flight get; what is left then is cut.
    """

    def __init__(
        self, app: web.Application, *, drain_delay: float = 0, drain_timeout: float = 30
    ) -> None:
        super().__init__(
            app,
            # Bodies pass as they came, compressed bytes included.
            auto_decompress=False,
            # zenzefi.observability.access_log writes the access log, in batches.
            access_log=None,
            keepalive_timeout=75,
            shutdown_timeout=drain_timeout,
        )
        self._drain_delay = drain_delay

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        factory = self.app.get(REQUEST_HANDLER, RequestHandler)
        if factory is RequestHandler:
            return server
        return GateServer(
            not_yet(server.request_handler),
            request_factory=server.request_factory,
            factory=factory,
            loop=asyncio.get_running_loop(),
            **server._kwargs,  # the options that aiohttp made of ours
        )

    async def cleanup(self) -> None:
        """Drain, then stop. Cancelling it stops at once."""
        drain = self.app.get(DRAIN)
        if drain is not None and self.server is not None:
            drain.is_draining = True
            await asyncio.sleep(self._drain_delay)
            await self._stop_listening()
            await self._last_requests(self.server)
        await super().cleanup()

    async def _stop_listening(self) -> None:
        for site in list(self.sites):
            if isinstance(site, ListeningSite):
                await site.take_pending()
            await site.stop()

    async def _last_requests(self, server: web.Server) -> None:
        # Closing an idle connection at once would cut a request that is already on the wire; one
        # that comes now is answered with "Connection: close" instead.
        loop = asyncio.get_running_loop()
        until = loop.time() + min(IDLE_GRACE, self._shutdown_timeout)
        while server.connections and loop.time() < until:  # noqa: ASYNC110 - aiohttp has no event
            await asyncio.sleep(0.02)


class ListeningSite(web.SockSite):
    """A site on a socket that is bound already."""

    def __init__(self, runner: web.BaseRunner, sock: socket.socket) -> None:
        super().__init__(runner, sock, backlog=1024)
        self._listener = sock

    async def take_pending(self) -> None:
        """Accept what the kernel has queued: closing the listener would reset those connections."""
        loop = asyncio.get_running_loop()
        server = self._runner.server
        while server is not None:
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                log.warning("pending connections could not be taken: %s", error)
                return
            connection.setblocking(False)
            await loop.connect_accepted_socket(server, connection)

"""Graceful shutdown: a process stops without losing a request.

Theory of operation
-------------------
A drain begins with SIGTERM and passes through these states, each of which begins when the previous
one is complete::

    serving ──SIGTERM──> announcing ──> last requests ──> shutting down ──> cleaned up

- *Serving*: connections are accepted, ``/readyz`` returns 200.
- *Announcing*, for ``DRAIN_DELAY`` seconds: :attr:`Drain.is_draining` is set. ``/readyz`` returns
  503, so a load balancer stops sending requests here. Connections are still accepted. From now on
  every response closes its connection (``Connection: close``, RFC 9112, 9.6).
- *Last requests*, for at most :data:`IDLE_GRACE` seconds: no new connection begins, the connections
  in the backlog are accepted, then the listeners are closed. A request that is already on the wire
  of an idle keep-alive connection is still served.
- *Shutting down*, for at most ``DRAIN_TIMEOUT`` seconds: aiohttp's ``on_shutdown`` runs, whose
  handlers close WebSockets with 1001 (RFC 6455, 7.4.1) and end event streams. Requests in flight
  finish. Then the remaining connections are closed.
- *Cleaned up*: ``on_cleanup`` and the ends of ``cleanup_ctx`` have run. They flush batches such as
  the access log and the sessions, and close pools.

Parts of the application participate by aiohttp's signals: ``on_shutdown`` for open streams,
``on_cleanup`` and ``cleanup_ctx`` for unwritten data.

Guarantees:

- A connection that the kernel has accepted is served, also when it was in the backlog.
- A response in flight is cut only after ``DRAIN_TIMEOUT``.
- The states are passed in this order and only once. Cancelling the drain (a second signal ends the
  process) skips the remaining ones.
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
from zenzefi.http.head_limits import HeadLimits
from zenzefi.runtime import descriptors, new_connections
from zenzefi.runtime.sockets import InheritedSocket
from zenzefi.settings import SETTINGS

log = logging.getLogger(__name__)

IDLE_GRACE = 2.0
"""Seconds to wait for requests that are already on the wire of idle keep-alive connections."""


class Drain:
    """Whether this process is draining; ``app[DRAIN].is_draining`` is read for every response.

    Handlers that bypass aiohttp's responses must send ``Connection: close`` while it is set.
    """

    __slots__ = ("is_draining",)

    def __init__(self) -> None:
        self.is_draining = False


DRAIN: web.AppKey[Drain] = web.AppKey("drain", Drain)

HandlerFactory = Callable[..., RequestHandler]
REQUEST_HANDLER: web.AppKey[HandlerFactory] = web.AppKey("request_handler")
"""The protocol of each connection: aiohttp's ``RequestHandler`` or a subclass, called as
``factory(server, loop=loop, **options)``."""


def setup(app: web.Application) -> None:
    """Add the drain state to the application."""
    drain = app[DRAIN] = Drain()

    async def close_connection(request: web.Request, response: web.StreamResponse) -> None:
        if drain.is_draining and response.status != 101:
            response.force_close()
            # aiohttp has written its Connection header before this signal.
            response.headers["Connection"] = "close"

    app.on_response_prepare.append(close_connection)


class GateServer(web.Server):
    """aiohttp's low-level server with a configurable protocol for connections."""

    def __init__(self, *args: Any, factory: HandlerFactory, **options: Any) -> None:
        super().__init__(*args, **options)
        self._factory = factory

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        descriptors.accepted(self, transport)

    def __call__(self) -> RequestHandler:
        return self._factory(self, loop=self._loop, **self._kwargs)


class GateRunner(web.AppRunner):
    """Runs the application. :meth:`cleanup` is the drain described above.

    ``drain_delay`` and ``drain_timeout`` are the settings of that name, in seconds.
    """

    def __init__(
        self, app: web.Application, *, drain_delay: float = 0, drain_timeout: float = 30
    ) -> None:
        super().__init__(
            app,
            # Bodies are forwarded as received, in their content encoding.
            auto_decompress=False,
            # zenzefi.observability.access_log writes the access log, in batches.
            access_log=None,
            keepalive_timeout=75,
            shutdown_timeout=drain_timeout,
        )
        self._drain_delay = drain_delay

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        settings = self.app[SETTINGS]
        return GateServer(
            not_yet(server.request_handler),
            request_factory=server.request_factory,
            factory=self.app[REQUEST_HANDLER],
            loop=asyncio.get_running_loop(),
            head_limits=HeadLimits(
                settings.request_line_limit,
                settings.request_headers_limit,
                settings.request_header_lines_limit,
            ),
            **server._kwargs,  # the options that aiohttp has derived from those above
        )

    async def cleanup(self) -> None:
        """Drain, then stop. If cancelled, it stops immediately."""
        if self.server is not None:
            self.app[DRAIN].is_draining = True
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
        # Closing an idle connection immediately would cut a request that is already on the wire.
        # Such a request gets a response with "Connection: close" instead.
        loop = asyncio.get_running_loop()
        until = loop.time() + min(IDLE_GRACE, self._shutdown_timeout)
        while server.connections and loop.time() < until:  # noqa: ASYNC110 - aiohttp has no event
            await asyncio.sleep(0.02)


class ListeningSite(web.SockSite):
    """A site on a socket that is already bound and listening."""

    def __init__(self, runner: web.BaseRunner, sock: socket.socket) -> None:
        super().__init__(runner, sock, backlog=1024)
        self._listener = sock

    async def start(self) -> None:
        """Listen; also on a socket at which a former worker has refused new connections."""
        new_connections.permit(self._listener)
        await super().start()

    async def take_pending(self) -> None:
        """Accept the connections in the backlog, which closing the listener would reset.

        From now on no new connection begins. A socket of systemd stays open: the next process
        accepts what is in its backlog.
        """
        if isinstance(self._listener, InheritedSocket):
            return
        new_connections.refuse(self._listener)
        loop = asyncio.get_running_loop()
        server = self._runner.server
        while server is not None:
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                log.warning("failed to accept pending connections: error=%s", error)
                return
            connection.setblocking(False)
            await loop.connect_accepted_socket(server, connection)

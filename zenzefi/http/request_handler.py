"""The HTTP/1 server side of each client connection: aiohttp's handler with six additions.

- The parser gets one request at a time, up to its end (:mod:`zenzefi.http.request_stream`).
- Any method token passes (RFC 9110, 9.1), not only those that the C parser knows by name.
- A head has to be complete within :data:`HEAD_SECONDS` of its first byte (slowloris), else the
  response is 408 and the connection is closed. While a head arrives, this timer replaces aiohttp's
  keep-alive timer; between requests only the keep-alive timer runs.
- Requests that the parser rejects get a 400, and heads that are too long to be read a 414 or 431,
  in the gate's error shape, which echoes none of their bytes.
- A reset is noticed within :data:`RESET_SECONDS` also while nothing is read from the client, when
  the event loop does not report it.
- The task that serves a request is cancelled when the client disconnects
  (:func:`cancelled_when_lost`), and an upstream connection that belongs to the client is closed
  with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import select
import socket
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from aiohttp import web
from aiohttp.http_exceptions import (
    BadHttpMethod,
    HttpProcessingError,
    InvalidHeader,
    InvalidURLError,
    LineTooLong,
    TransferEncodingError,
)

from zenzefi.errors import GateError
from zenzefi.http.errors import AmbiguousRequest, RequestTimeout
from zenzefi.http.head_limits import HeadersTooLarge
from zenzefi.http.request_id import request_id_of
from zenzefi.http.request_stream import Phase, RequestStream
from zenzefi.http.server_header import SERVER

log = logging.getLogger(__name__)

HEAD_SECONDS = 20.0
"""Timeout from the first byte of a request to the end of its head."""

LINGER_SECONDS = 1.0
"""How long the rest of a request is read after a response that came before its end."""

RESET_SECONDS = 1.0
"""How often a client from which nothing is read is asked whether it has reset its connection."""

STALL_SECONDS = 300
"""A browser, or a WebSocket's upstream, that reads nothing for so long is disconnected."""

_WHY: tuple[tuple[type[HttpProcessingError], str], ...] = (
    (BadHttpMethod, "The method is malformed (RFC 9110, 9.1)."),
    (InvalidURLError, "The request target is malformed (RFC 9112, 3.2)."),
    (InvalidHeader, "A header is malformed (RFC 9110, 5.5)."),
    (TransferEncodingError, "The request's content is not framed properly (RFC 9112, 6)."),
)
_OTHERWISE = "The request is not valid HTTP/1.1 (RFC 9112)."


class OwnedConnection(Protocol):
    """An upstream connection that belongs to a client's connection, as the latter sees it."""

    def owner_lost(self) -> None:
        """The client's connection is closed."""


class GateRequestHandler(RequestStream):
    """One connection from a browser."""

    __slots__ = ("_head_timer", "_reset_timer", "on_lost", "owned")

    def __init__(self, *args: object, **options: Any) -> None:
        super().__init__(*args, **options)
        self.on_lost: Callable[[], object] | None = None
        self.owned: OwnedConnection | None = None
        """The upstream connection that serves this client alone."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._reset_timer: asyncio.TimerHandle | None = None
        self._lingering_time = LINGER_SECONDS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A browser has connected."""
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            # The system closes the connection of a client that reads nothing (RFC 9293, 3.8.3),
            # also while it only flushes the write buffer and no timer of the gate runs.
            with contextlib.suppress(OSError):  # Unix sockets do not have this option
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALL_SECONDS * 1000)

    def _watch_head(self) -> None:
        """Run the head timer from the first byte of a head to its last."""
        if self._phase is Phase.HEAD or (
            self._phase is Phase.START and self._unread and not self._upgraded and self._is_idle
        ):
            if self._head_timer is None:
                self._head_timer = self._loop.call_later(HEAD_SECONDS, self._head_late)
        elif self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _process_keepalive(self) -> None:
        if self._head_timer is None:
            super()._process_keepalive()
        else:  # a head has begun to arrive: the head timer applies
            self._keepalive_handle = self._loop.call_later(
                self._keepalive_timeout, self._process_keepalive
            )

    def _head_late(self) -> None:
        self._head_timer = None
        transport = self.transport
        if transport is None or self._waiter is None or self._waiter.done():
            return
        body = json.dumps(RequestTimeout().body("-")).encode()
        transport.write(
            b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
        )
        self.force_close()

    def _pause_transport_reading(self) -> None:
        super()._pause_transport_reading()
        if self._reset_timer is None:
            self._reset_timer = self._loop.call_later(RESET_SECONDS, self._check_reset)

    def _check_reset(self) -> None:
        self._reset_timer = None
        if self.transport is None or not (self._reading_paused or self._buffer_paused):
            return
        if was_reset(self.transport):
            self.transport.abort()
        else:
            self._reset_timer = self._loop.call_later(RESET_SECONDS, self._check_reset)

    @property
    def is_lost(self) -> bool:
        """Whether the connection is closed."""
        return self.transport is None

    def close_when_done(self) -> None:
        """Close the connection after the response that is being sent, if any."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            self.force_close()
        else:
            self._close = True

    def log_exception(self, *args: object, **options: object) -> None:
        """Log truncated request content without a traceback: it is the client's error."""
        if isinstance(options.get("exc_info"), (web.RequestPayloadError, OSError)):
            log.debug("truncated request content")
        else:
            super().log_exception(*args, **options)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The browser is gone."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if self._reset_timer is not None:
            self._reset_timer.cancel()
        on_lost, self.on_lost = self.on_lost, None
        owned, self.owned = self.owned, None
        super().connection_lost(exc)
        if owned is not None:
            owned.owner_lost()
        if on_lost is not None:
            on_lost()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The response to a request that the parser rejected.

        The parser's own message quotes the request, so it is not used.
        """
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        why = next((text for kind, text in _WHY if isinstance(exc, kind)), _OTHERWISE)
        error: GateError = AmbiguousRequest(why)
        if isinstance(exc, LineTooLong):
            error = self.head_problem or HeadersTooLarge()
        log.info("malformed request: error=%s", type(exc).__name__)
        response = web.json_response(
            error.body(request_id_of(request)),
            status=error.status,
            headers={"Cache-Control": "no-store", "Server": SERVER},
        )
        response.force_close()
        return response


def was_reset(transport: asyncio.BaseTransport) -> bool:
    """Whether the peer has reset the connection (RFC 9293, 3.10.7); false where that is unknown."""
    sock = transport.get_extra_info("socket")
    if sock is None or not hasattr(select, "poll"):
        return False
    waiting = select.poll()
    waiting.register(sock.fileno(), 0)  # errors are always reported
    return bool(waiting.poll(0))


@contextlib.contextmanager
def cancelled_when_lost(request: web.BaseRequest) -> Iterator[None]:
    """Within the block, the current task is cancelled when the client disconnects."""
    handler = request.protocol
    task = asyncio.current_task()
    if not isinstance(handler, GateRequestHandler) or task is None:
        yield
        return
    handler.on_lost = task.cancel
    try:
        yield
    finally:
        handler.on_lost = None

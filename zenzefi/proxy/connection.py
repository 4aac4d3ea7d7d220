"""What speaks HTTP on each connection from a browser: aiohttp's handler with three additions.

- A head that does not arrive in time ends the connection (slow headers).
- What the parser refuses is answered in the gate's one error shape, without echoing any byte.
- Whoever works for a browser that has gone is told at once.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web
from aiohttp.http_exceptions import (
    BadHttpMethod,
    HttpProcessingError,
    InvalidHeader,
    InvalidURLError,
    LineTooLong,
    TransferEncodingError,
)
from aiohttp.web_protocol import RequestHandler

from zenzefi.errors import AmbiguousRequest, GateError, RequestTimeout
from zenzefi.middleware.request_id import request_id_of

log = logging.getLogger(__name__)

HEAD_SECONDS = 20.0
"""From the first byte of a request to the end of its head."""

LINGER_SECONDS = 1.0

_WHY: tuple[tuple[type[HttpProcessingError], str], ...] = (
    (LineTooLong, "A line of the request's head is too long (RFC 9112, 2.2)."),
    (BadHttpMethod, "The method is no method (RFC 9110, 9.1)."),
    (InvalidURLError, "The request target is no target (RFC 9112, 3.2)."),
    (InvalidHeader, "A header is malformed (RFC 9110, 5.5)."),
    (TransferEncodingError, "The request's content is not framed properly (RFC 9112, 6)."),
)
_OTHERWISE = "The request is not valid HTTP/1.1 (RFC 9112)."


class GateRequestHandler(RequestHandler):
    """One connection from a browser."""

    __slots__ = ("_head_timer", "on_lost")

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]  # handed through as they came
        self.on_lost: Callable[[], object] | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        # After an answer that came before the request's end: long enough to be read, no longer.
        self._lingering_time = LINGER_SECONDS

    def data_received(self, data: bytes) -> None:
        """Parse, and start or stop the clock of the head."""
        super().data_received(data)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            # Still waiting for a request although bytes came: a head has begun.
            if self._head_timer is None and data:
                self._head_timer = self._loop.call_later(HEAD_SECONDS, self._head_late)
        elif self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

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

    def connection_lost(self, exc: BaseException | None) -> None:
        """The browser is gone."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        on_lost, self.on_lost = self.on_lost, None
        super().connection_lost(exc)
        if on_lost is not None:
            on_lost()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what the parser refused; the parser's own message quotes the request: not it."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        why = next((text for kind, text in _WHY if isinstance(exc, kind)), _OTHERWISE)
        error: GateError = AmbiguousRequest(why)
        log.info("refused by the parser: %s", type(exc).__name__)
        response = web.json_response(
            error.body(request_id_of(request)),
            status=error.status,
            headers={"Cache-Control": "no-store"},
        )
        response.force_close()
        return response


@contextmanager
def cancelled_when_lost(request: web.BaseRequest) -> Iterator[None]:
    """While it is held, the current task is cancelled as soon as the browser is gone."""
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

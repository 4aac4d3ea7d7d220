"""What speaks HTTP on each connection from a browser: aiohttp's handler with four additions.

- Any method token passes (RFC 9110, 9.1), not only those that the C parser knows by name.
- A head that does not arrive in time ends the connection (slow headers).
- What the parser refuses is answered in the gate's one error shape, without echoing any byte.
- Whoever works for a browser that has gone is told at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import socket
from collections.abc import Callable, Iterator

from aiohttp import web
from aiohttp.http import RawRequestMessage
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
from zenzefi.middleware.server_name import SERVER

log = logging.getLogger(__name__)

HEAD_SECONDS = 20.0
"""From the first byte of a request to the end of its head."""

LINGER_SECONDS = 1.0

STALL_SECONDS = 300
"""A browser that takes nothing for so long is gone."""

_WHY: tuple[tuple[type[HttpProcessingError], str], ...] = (
    (LineTooLong, "A line of the request's head is too long (RFC 9112, 2.2)."),
    (BadHttpMethod, "The method is no method (RFC 9110, 9.1)."),
    (InvalidURLError, "The request target is no target (RFC 9112, 3.2)."),
    (InvalidHeader, "A header is malformed (RFC 9110, 5.5)."),
    (TransferEncodingError, "The request's content is not framed properly (RFC 9112, 6)."),
)
_OTHERWISE = "The request is not valid HTTP/1.1 (RFC 9112)."


# The methods that llhttp knows by name, the frequent ones first; any other is refused by it.
_KNOWN = tuple(
    method + b" "
    for method in (
        b"GET POST HEAD OPTIONS PUT DELETE PATCH PROPFIND PROPPATCH REPORT MKCOL COPY MOVE LOCK "
        b"UNLOCK SEARCH QUERY CONNECT TRACE BIND REBIND UNBIND ACL MKACTIVITY CHECKOUT MERGE "
        b"M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE MKCALENDAR LINK UNLINK SOURCE"
    ).split()
)
_STAND_IN = b"PATCH"  # a method without any meaning to the parser
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")


class GateRequestHandler(RequestHandler):
    """One connection from a browser."""

    __slots__ = ("_head_timer", "_held", "_method", "on_lost")

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]  # handed through as they came
        self.on_lost: Callable[[], object] | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._held = b""  # the beginning of a method that may turn out to be an unknown one
        self._method: str | None = None  # what the stand-in stands for
        # After an answer that came before the request's end: long enough to be read, no longer.
        self._lingering_time = LINGER_SECONDS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A browser has connected."""
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            # The system gives up a peer that takes nothing (RFC 9293, 3.8.3), also when all that is
            # left to do is to write out what lies here: no timer of ours runs then.
            with contextlib.suppress(OSError):  # a Unix socket knows no such option
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALL_SECONDS * 1000)

    def data_received(self, data: bytes) -> None:
        """Parse, and start or stop the clock of the head."""
        if data and not data.startswith(_KNOWN) and self._is_between_requests:
            data = self._with_known_method(self._held + data)
        super().data_received(data)
        if self._method is not None and self._messages:
            message, payload = self._messages[0]
            if isinstance(message, RawRequestMessage):
                self._messages[0] = (message._replace(method=self._method), payload)
            self._method = None
        self._watch_head(data)

    def _watch_head(self, data: bytes) -> None:
        request = self._current_request
        if request is not None and self._messages:
            self._tell_of_broken_content(request)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            # Still waiting for a request although bytes came: a head has begun.
            if self._head_timer is None and (data or self._held):
                self._head_timer = self._loop.call_later(HEAD_SECONDS, self._head_late)
        elif self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _tell_of_broken_content(self, request: web.BaseRequest) -> None:
        """The parser has given up within a content: aiohttp queues that as another request, and
        whoever reads the content would wait for ever."""
        refused = not isinstance(self._messages[-1][0], RawRequestMessage)
        if refused and not request.content.is_eof() and request.content.exception() is None:
            request.content.set_exception(web.RequestPayloadError("broken framing"))

    @property
    def _is_between_requests(self) -> bool:
        """Whether the next byte begins a request: the last one is done, its content read."""
        waiter = self._waiter
        idle = waiter is not None and not waiter.done() and not self._messages
        return idle and (self._head_timer is None or bool(self._held))

    def _with_known_method(self, data: bytes) -> bytes:
        """The same bytes with a method that the parser takes; the real one is put back later."""
        self._held = b""
        method, space, rest = data.lstrip(b"\r\n").partition(b" ")
        if data.lstrip(b"\r\n").startswith(_KNOWN) or not _METHOD.fullmatch(method):
            return data
        if not space:
            self._held = data
            return b""
        self._method = method.decode("ascii")
        return _STAND_IN + b" " + rest

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

    def log_exception(self, *args: object, **options: object) -> None:
        """What a browser sent and did not end well is no fault of ours: no traceback for it."""
        if isinstance(options.get("exc_info"), (web.RequestPayloadError, OSError)):
            log.debug("a request's content broke off")
        else:
            super().log_exception(*args, **options)

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
            headers={"Cache-Control": "no-store", "Server": SERVER},
        )
        response.force_close()
        return response


@contextlib.contextmanager
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

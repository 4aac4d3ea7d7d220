"""The HTTP/1 server side of each connection from a browser: aiohttp's handler with five additions.

- The parser gets one request at a time, cut where it ends (:mod:`zenzefi.proxy.framing`).
- Any method token passes (RFC 9110, 9.1), not only those that the C parser knows by name.
- A head that does not arrive in time ends the connection (slow headers).
- What the parser refuses is answered in the gate's one error shape, without echoing any byte.
- Whoever works for a browser that has gone is told at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import logging
import re
import socket
from collections.abc import Callable, Iterator

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import (
    BadHttpMessage,
    BadHttpMethod,
    HttpProcessingError,
    InvalidHeader,
    InvalidURLError,
    LineTooLong,
    TransferEncodingError,
)
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from zenzefi.errors import AmbiguousRequest, GateError, RequestTimeout
from zenzefi.middleware.request_id import request_id_of
from zenzefi.middleware.server_name import SERVER
from zenzefi.proxy.framing import ChunkedEnd, HeadEnd, SizedEnd, length_of
from zenzefi.proxy.ownership import OwnedConnection

log = logging.getLogger(__name__)

HEAD_SECONDS = 20.0
"""From the first byte of a request to the end of its head."""

MAX_HEAD = 128 * 1024
"""Bytes of a request's head."""

HELD = 64 * 1024
"""Bytes of later requests that may wait for the response to the current one."""

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
_LONGEST = 64  # bytes of a method
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")


class Phase(enum.Enum):
    """What the next byte of the browser belongs to."""

    START = enum.auto()
    """Between two requests: the next byte begins one, and it is the parser's only when the last
    response is complete."""
    HEAD = enum.auto()
    CONTENT = enum.auto()
    DEAF = enum.auto()
    """No further request is read: where it begins is not known, or the framing was refused."""


class GateRequestHandler(RequestHandler):
    """One connection from a browser.

    The parser gets one request at a time, and never a byte behind its end; what came meanwhile is
    held. So the first byte of each request is known, and only there a method is looked at.
    """

    __slots__ = (
        "_end",
        "_head_end",
        "_head_timer",
        "_idle_waiter",
        "_is_head_whole",
        "_last_content",
        "_method",
        "_phase",
        "_unread",
        "on_lost",
        "owned",
    )

    def __init__(self, *args: object, **options: object) -> None:
        self._idle_waiter: asyncio.Future[None] | None = None
        super().__init__(*args, **options)  # type: ignore[arg-type]  # handed through as they came
        self.on_lost: Callable[[], object] | None = None
        self.owned: OwnedConnection | None = None
        """The upstream connection that serves this client alone (:mod:`.ownership`)."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._phase = Phase.START
        self._unread = b""  # bytes of the browser that the parser has not got yet
        self._head_end = HeadEnd()
        self._is_head_whole = False  # the parser has got the head in one piece, and as it came
        self._method: str | None = None  # what the stand-in stands for
        self._end: SizedEnd | ChunkedEnd = SizedEnd(0)  # of the current content
        self._last_content: StreamReader = EMPTY_PAYLOAD
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

    # --- the browser's bytes

    @property
    def _waiter(self) -> asyncio.Future[None] | None:
        """aiohttp's task waits on it for the next request."""
        return self._idle_waiter

    @_waiter.setter
    def _waiter(self, waiter: asyncio.Future[None] | None) -> None:
        self._idle_waiter = waiter
        if waiter is not None and self._unread:
            self._loop.call_soon(self._advance)

    @property
    def _is_idle(self) -> bool:
        """Whether the last response is complete and taken, so that a request may be read."""
        waiter = self._idle_waiter
        return waiter is not None and not waiter.done() and not self._messages and not self._paused

    def data_received(self, data: bytes) -> None:
        """Bytes of the browser; none: aiohttp lets the parser go on with what it has kept."""
        if self._force_close or self._parser is None:
            return
        if not data:
            if not self._upgraded and self._phase is not Phase.DEAF:
                self._feed(data)
            return
        self._unread = self._unread + data if self._unread else data
        self._advance()

    def _advance(self) -> None:
        """Give the parser what it may have by now."""
        while self._unread and self.transport is not None and not self._force_close:
            phase = self._phase
            if phase is Phase.CONTENT:
                self._read_content()
            elif phase is Phase.HEAD:
                self._read_head()
            elif phase is Phase.DEAF:
                self._unread = b""
            elif self._upgraded:
                break
            elif self._close:
                self._unread = b""
            elif not self._is_idle or not self._begin_request():
                break
        self._watch_head()
        if len(self._unread) > HELD and not self._buffer_paused:
            self._pause_reading_for_buffer()
        elif self._buffer_paused and len(self._unread) <= HELD:
            self._resume_reading_for_buffer()

    def _resume_reading_if_drained(self) -> None:
        if len(self._unread) <= HELD:
            super()._resume_reading_if_drained()

    def take_unread(self) -> bytes:
        """What came behind the last request; it belongs to the caller (an accepted upgrade)."""
        unread, self._unread = self._unread, b""
        return unread

    def _begin_request(self) -> bool:
        """Begin to read a request; false while its method is not complete."""
        if not self._last_content.is_eof():  # parser and scanner disagree where the content ends
            self.force_close()
            return False
        data = self._unread = self._unread.lstrip(b"\r\n")  # RFC 9112, 2.2
        if not data:
            return False
        self._method = None
        if not data.startswith(_KNOWN):
            space = data.find(b" ", 0, _LONGEST + 1)
            if _METHOD.fullmatch(data, 0, space if space >= 0 else len(data)):
                if space < 0:
                    return False
                self._method = data[:space].decode("ascii")
                self._unread = _STAND_IN + data[space:]
        self._phase = Phase.HEAD
        self._head_end = HeadEnd()
        return True

    def _read_head(self) -> None:
        """Give the parser the head, or as much of it as is here."""
        data = self._unread
        is_first = not self._head_end.size
        end = self._head_end.find(data)
        if self._head_end.size > MAX_HEAD:
            self._unread = b""
            self._refuse(LineTooLong(b"", MAX_HEAD))
            return
        head = data if end < 0 else data[:end]
        self._unread = b"" if end < 0 else data[end:]
        self._is_head_whole = is_first and end >= 0 and self._method is None
        self._feed(head)
        if self._phase is Phase.DEAF:
            return
        if not self._messages:
            if end >= 0:  # it does not end where RFC 9112 says
                self._refuse(BadHttpMessage("no end of the head"))
            return
        message, content = self._messages[-1]
        if not isinstance(message, RawRequestMessage):
            return
        if self._method is not None:
            message = message._replace(method=self._method)
            self._messages[-1] = message, content
        length = length_of(message.headers.get("Content-Length", "0").encode(errors="replace"))
        if length is None:
            self._messages.pop()
            self._refuse(TransferEncodingError("length"))
            return
        self._phase = Phase.START
        self._last_content = content
        if end < 0:
            self._read_no_more()
        elif content is not EMPTY_PAYLOAD and not self._upgraded:
            self._phase = Phase.CONTENT
            self._end = ChunkedEnd() if message.chunked else SizedEnd(length)
        self._on_request(message, content, head)

    def _on_request(self, message: RawRequestMessage, content: StreamReader, head: bytes) -> None:
        """A head is complete: let aiohttp's task serve it. ``head``: the bytes it was read from."""
        self._wake()

    def _wake(self) -> None:
        waiter = self._idle_waiter
        if self._messages and waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _read_content(self) -> None:
        """Give the parser the content, or as much of it as is here."""
        data, end = self._unread, self._end
        if self._last_content.is_eof():  # the parser has found an end before this one
            self._read_no_more()
            return
        used = end.feed(data)
        self._unread = data[used:]
        self._feed(data[:used])
        if self._phase is Phase.DEAF:
            return
        if end.is_broken:
            self._refuse(TransferEncodingError("chunks"))
        elif end.is_complete:
            self._phase = Phase.START

    def _feed(self, data: bytes) -> None:
        if self._parser is None:
            return
        try:
            messages, self._upgraded, _ = self._parser.feed_data(data)
        except HttpProcessingError as error:
            self._refuse(error)
            return
        self._request_count += len(messages)
        self._messages.extend(messages)

    def _refuse(self, error: HttpProcessingError) -> None:
        """The framing is broken: no further request is read from this connection."""
        phase, self._phase = self._phase, Phase.DEAF
        if phase is Phase.HEAD:
            self._messages.append(
                (_ErrInfo(status=400, exc=error, message=error.message), EMPTY_PAYLOAD)
            )
            self._wake()
            return
        self._read_no_more()
        content = self._last_content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(web.RequestPayloadError("broken framing"))

    def _read_no_more(self) -> None:
        """The current request is the last one of this connection, and its response says so."""
        self._phase = Phase.DEAF
        self._unread = b""
        self._close = True
        request = self._current_request
        if self._messages:
            message, content = self._messages[-1]
            if isinstance(message, RawRequestMessage):
                self._messages[-1] = message._replace(should_close=True), content
        elif request is not None:
            request._message = request._message._replace(should_close=True)

    # --- clocks

    def _watch_head(self) -> None:
        """The clock of a head runs from its first byte to its last."""
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
        else:  # a request has begun: its own clock runs
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

    @property
    def is_lost(self) -> bool:
        """Whether the connection is closed."""
        return self.transport is None

    def close_when_done(self) -> None:
        """Close the connection as soon as the response that is being sent, if any, is complete."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            self.force_close()
        else:
            self._close = True

    def log_exception(self, *args: object, **options: object) -> None:
        """What a browser sent and did not end well is no fault of ours: no traceback for it."""
        if isinstance(options.get("exc_info"), (web.RequestPayloadError, OSError)):
            log.debug("a request's content broke off")
        else:
            super().log_exception(*args, **options)

    def resume_writing(self) -> None:
        """The browser has taken what was written for it."""
        super().resume_writing()
        if self._unread:
            self._advance()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The browser is gone."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._unread = b""
        on_lost, self.on_lost = self.on_lost, None
        owned, self.owned = self.owned, None
        waiter, task = self._idle_waiter, self._task_handler
        super().connection_lost(exc)
        if task is not None and waiter is not None and waiter.done():
            # The task has been told of a request in this turn of the loop, and would serve it with
            # what aiohttp has just taken away.
            task.cancel()
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

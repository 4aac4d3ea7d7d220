"""Where the requests of one browser's connection begin and end (RFC 9112, 2.2 and 6).

aiohttp's server protocol, whose parser (llhttp) gets one request at a time and never a byte behind
its end; what came meanwhile is held. So the first byte of each request is known, and only there a
method is looked at: any method token passes (RFC 9110, 9.1), not only those llhttp knows by name.
"""

from __future__ import annotations

import asyncio
import enum
import re

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import (
    BadHttpMessage,
    HttpProcessingError,
    LineTooLong,
    TransferEncodingError,
)
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from zenzefi.http.framing import ChunkedEnd, FirstLine, HeadEnd, SizedEnd, length_of
from zenzefi.http_syntax import TCHAR

MAX_HEAD = 128 * 1024
"""Bytes of a request's head."""

HELD = 64 * 1024
"""Bytes of later requests that may wait for the response to the current one."""

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
_METHOD = re.compile(TCHAR.encode() + b"{1,64}")


class Phase(enum.Enum):
    """What the next byte of the browser belongs to."""

    START = enum.auto()
    """Between two requests: the next byte begins one, and it is the parser's only when the last
    response is complete."""
    HEAD = enum.auto()
    CONTENT = enum.auto()
    DEAF = enum.auto()
    """No further request is read: where it begins is not known, or the framing was refused."""


class RequestStream(RequestHandler):
    """A connection from a browser on which requests are read one after the other."""

    __slots__ = (
        "_end",
        "_first_line",
        "_head_end",
        "_idle_waiter",
        "_is_head_whole",
        "_last_content",
        "_method",
        "_phase",
        "_unread",
    )

    def __init__(self, *args: object, **options: object) -> None:
        self._idle_waiter: asyncio.Future[None] | None = None
        super().__init__(*args, **options)  # type: ignore[arg-type]  # handed through as they came
        self._phase = Phase.START
        self._unread = b""  # bytes of the browser that the parser has not got yet
        self._head_end = HeadEnd()
        self._first_line = FirstLine()
        self._is_head_whole = False  # the parser has got the head in one piece, and as it came
        self._method: str | None = None  # what the stand-in stands for
        self._end: SizedEnd | ChunkedEnd = SizedEnd(0)  # of the current content
        self._last_content: StreamReader = EMPTY_PAYLOAD

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
        self._first_line = FirstLine()
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
        self._first_line.feed(head)
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
        if not self._first_line.is_http:  # the parser knows RTSP and ICE, too
            self._messages.pop()
            self._refuse(BadHttpMessage("version"))
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

    def _watch_head(self) -> None:
        """Called when bytes have come: a head may have begun, or be complete."""

    def resume_writing(self) -> None:
        """The browser has taken what was written for it."""
        super().resume_writing()
        if self._unread:
            self._advance()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The browser is gone."""
        self._unread = b""
        waiter, task = self._idle_waiter, self._task_handler
        super().connection_lost(exc)
        if task is not None and waiter is not None and waiter.done():
            # The task has been told of a request in this turn of the loop, and would serve it with
            # what aiohttp has just taken away.
            task.cancel()

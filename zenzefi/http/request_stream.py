"""Where the requests of one client connection begin and end (RFC 9112, 2.2 and 6).

Theory of operation
-------------------

The class is aiohttp's server protocol. Its parser (llhttp) knows only some methods by name, and
would parse pipelined requests before their turn. Therefore the parser gets one request at a time,
and never a byte behind its end; later bytes are held in ``_unread``. The first byte of each request
is thus known, and only there a method is examined: an unknown one is replaced by a stand-in for the
parser, and restored in the parsed message. Any method token passes (RFC 9110, 9.1).

Two programs look at the bytes: the parser decides what is valid, and the scanners of
:mod:`zenzefi.http.framing` find the ends. If they disagree, the connection ends.

Phases, by what the next byte belongs to::

    START --idle, method complete--> HEAD --head complete, content--> CONTENT --end--> START
      ^                               |  |
      +------head without content-----+  +--malformed--> DEAF <--malformed-- CONTENT

- START: a request begins only when the last response is complete and written (``_is_idle``).
- HEAD, CONTENT: bytes go to the parser up to the end that the scanner finds.
- DEAF: all bytes are dropped. The current request is the last one, and its response says
  ``Connection: close``. A malformed head gets a 400.
- After an accepted upgrade (START, ``_upgraded``) the bytes wait for :meth:`take_unread`.

Invariants:

- The parser never gets bytes of two requests in one call.
- No request is begun while the response to an earlier one is incomplete.
- At most :data:`HELD` bytes of later requests, plus one read, are held; then reading pauses.
- After a framing error no byte of the connection is parsed as a request.
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

from zenzefi.errors import GateError
from zenzefi.http.framing import ChunkedEnd, FirstLine, HeadEnd, SizedEnd, length_of
from zenzefi.http.head_limits import MAX_HEAD, MAX_HEADER_LINES, HeadLimits
from zenzefi.http_syntax import TCHAR

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
_STAND_IN = b"PATCH"  # a method that the parser does not treat specially
_LONGEST = 64  # bytes of a method
_METHOD = re.compile(TCHAR.encode() + b"{1,64}")


class Phase(enum.Enum):
    """The part of a request that the next byte belongs to; see the module's text."""

    START = enum.auto()
    HEAD = enum.auto()
    CONTENT = enum.auto()
    DEAF = enum.auto()


class RequestStream(RequestHandler):
    """A client connection on which requests are read one after another."""

    __slots__ = (
        "_end",
        "_first_line",
        "_head_end",
        "_head_limits",
        "_head_lines",
        "_idle_waiter",
        "_is_head_whole",
        "_last_content",
        "_method",
        "_phase",
        "_unread",
        "exchange",
    )

    def __init__(
        self, *args: object, head_limits: HeadLimits | None = None, **options: object
    ) -> None:
        self._idle_waiter: asyncio.Future[None] | None = None
        # Heads beyond the limits have to be parsed too: see zenzefi.http.head_limits.
        options |= {
            "max_line_size": MAX_HEAD,
            "max_field_size": MAX_HEAD,
            "max_headers": MAX_HEADER_LINES,
        }
        super().__init__(*args, **options)  # type: ignore[arg-type]  # handed through as they came
        self._head_limits = head_limits or HeadLimits()
        self._phase = Phase.START
        self._unread = b""  # received bytes that the parser has not got yet
        self._head_end = HeadEnd()
        self._head_lines = 0  # of the current head: line ends so far
        self._first_line = FirstLine()
        self._is_head_whole = False  # the parser got the head in one piece and unchanged
        self._method: str | None = None  # the method that the stand-in replaces
        self._end: SizedEnd | ChunkedEnd = SizedEnd(0)  # of the current content
        self._last_content: StreamReader = EMPTY_PAYLOAD
        self.exchange: object = None
        """Identifies the request whose response is sent without aiohttp, if there is one."""

    @property
    def _waiter(self) -> asyncio.Future[None] | None:
        """The future on which aiohttp's task waits for the next request."""
        return self._idle_waiter

    @_waiter.setter
    def _waiter(self, waiter: asyncio.Future[None] | None) -> None:
        self._idle_waiter = waiter
        if waiter is not None and self._unread:
            self._loop.call_soon(self._advance)

    @property
    def _is_idle(self) -> bool:
        """Whether the last response is complete and written, so that a request may be read."""
        waiter = self._idle_waiter
        return (
            self.exchange is None
            and waiter is not None
            and not waiter.done()
            and not self._messages
            and not self._paused
        )

    def data_received(self, data: bytes) -> None:
        """Bytes from the client. aiohttp passes none to let the parser continue."""
        if self._force_close or self._parser is None:
            return
        if not data:
            if not self._upgraded and self._phase is not Phase.DEAF:
                self._feed(data)
            return
        self._unread = self._unread + data if self._unread else data
        self._advance()

    def _advance(self) -> None:
        """Pass on to the parser all bytes that it may get now."""
        while self._unread and self.transport is not None and not self._force_close:
            phase = self._phase
            if phase is Phase.CONTENT:
                if not self._read_content():
                    break
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
        """Remove and return the bytes after the last request, for an accepted upgrade."""
        unread, self._unread = self._unread, b""
        return unread

    def _begin_request(self) -> bool:
        """Begin to read a request; false while its method is incomplete."""
        if not self._last_content.is_eof():  # parser and scanner disagree about the content's end
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
        self._head_lines = 0
        self._first_line = FirstLine()
        return True

    def _read_head(self) -> None:
        """Pass on the received part of the head to the parser."""
        data = self._unread
        is_first = not self._head_end.size
        end = self._head_end.find(data)
        head = data if end < 0 else data[:end]
        self._first_line.feed(head)
        self._head_lines += head.count(b"\n")
        has_room = self._head_lines <= MAX_HEADER_LINES
        if not (has_room and self._head_limits.may_read(self, self._head_end.size)):
            self._unread = b""
            self._refuse(LineTooLong(b"", MAX_HEAD))
            return
        self._unread = b"" if end < 0 else data[end:]
        self._is_head_whole = is_first and end >= 0 and self._method is None
        self._feed(head)
        if self._phase is Phase.DEAF:
            return
        if not self._messages:
            if end >= 0:  # the parser expects more than the scanner (RFC 9112, 2.2)
                self._refuse(BadHttpMessage("no end of the head"))
            return
        message, content = self._messages[-1]
        if not isinstance(message, RawRequestMessage):
            return
        if not self._first_line.is_http:  # the parser also accepts RTSP and ICE
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
        self._head_limits.end(self)
        self._last_content = content
        if end < 0:
            self._read_no_more()
        elif content is not EMPTY_PAYLOAD and not self._upgraded:
            self._phase = Phase.CONTENT
            self._end = ChunkedEnd() if message.chunked else SizedEnd(length)
        self._on_request(message, content, head)

    @property
    def head_problem(self) -> GateError | None:
        """The error for a head beyond the limits; of the request that is being served."""
        line = self._first_line.size
        return self._head_limits.problem(
            line - 2, self._head_end.size - line - 2, self._head_lines - 2
        )

    def _on_request(self, message: RawRequestMessage, content: StreamReader, head: bytes) -> None:
        """Called when a head is complete: aiohttp's task serves it. ``head``: its raw bytes."""
        self._wake()

    def _wake(self) -> None:
        waiter = self._idle_waiter
        if self._messages and waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _read_content(self) -> bool:
        """Pass on the received part of the content to the parser; false while it has to wait."""
        data, end = self._unread, self._end
        if self._last_content.is_eof():  # the parser has found an earlier end
            self._read_no_more()
            return True
        used = end.feed(data)
        self._unread = data[used:]
        self._feed(data[:used])
        if self._phase is Phase.DEAF:
            return True
        if end.is_broken:
            self._refuse(TransferEncodingError("chunks"))
        elif end.is_complete:
            self._phase = Phase.START
        return True

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
        """Reject malformed framing: no further request is read from this connection."""
        phase, self._phase = self._phase, Phase.DEAF
        self._head_limits.end(self)
        if phase is Phase.HEAD:
            self._messages.append(
                (_ErrInfo(status=400, exc=error, message=error.message), EMPTY_PAYLOAD)
            )
            self._wake()
            return
        self._read_no_more()
        content = self._last_content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(web.RequestPayloadError("malformed framing"))

    def _read_no_more(self) -> None:
        """Make the current request the last one; its response has ``Connection: close``."""
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
        """Called after bytes were received: a head may have begun, or be complete."""

    def resume_writing(self) -> None:
        """The write buffer is below its limit: held bytes can be read."""
        super().resume_writing()
        if self._unread:
            self._advance()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The browser is gone."""
        self._unread = b""
        self._head_limits.end(self)
        waiter, task = self._idle_waiter, self._task_handler
        super().connection_lost(exc)
        if task is not None and waiter is not None and waiter.done():
            # The task was woken for a request in this iteration of the loop, and would serve it
            # with a parser and a transport that aiohttp has just removed.
            task.cancel()

"""The client's connection, as the sender of responses: the one writer toward the browser.

Theory of operation
-------------------

aiohttp reads requests from the connection. The response to a request that goes to the upstream is
sent here, by callbacks; a task may await its end (:class:`AwaitedResponse`)::

    IDLE --serve--> SERVED --head--> STREAMING --end------> IDLE
                      |  |               |
                      |  +--failed       +--break_off, client lost--> closed
                      |     (no byte was written: another response can be given)
                      +--head of a complete response--> IDLE

Invariants:

- ``_known`` and ``exchange`` are set exactly while a request is served: aiohttp writes nothing.
- The head of a final response is written once, by :meth:`SendingConnection.head`, which decides
  about the framing and the connection's end. A 1xx response is written before it, or not at all.
- The source of the body (``_connection``) is the only one that writes a body. It is paused while
  the client reads more slowly, and abandoned when the response is over.
- A body that is not complete is never ended as if it were.
- Accounts contain only written bytes: ``sent`` and ``_status``.
"""

from __future__ import annotations

import abc
import asyncio
import logging
from typing import Any, Protocol

from zenzefi.errors import GateError
from zenzefi.http.request_handler import GateRequestHandler
from zenzefi.http.request_stream import Phase
from zenzefi.proxy.browser.awaited_response import AwaitedResponse
from zenzefi.proxy.browser.body_source import BodySource
from zenzefi.proxy.browser.response_writer import (
    LAST_CHUNK,
    connection_end,
    interim_head,
    write_chunk,
    write_start,
)
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.upstream.body_flow import BUFFER
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.ownership import ConnectionOwner, is_event_stream
from zenzefi.proxy.upstream.response_head import HeadReader
from zenzefi.proxy.upstream.sinks import BodySink, ResponseStart
from zenzefi.runtime.drain import Drain

log = logging.getLogger(__name__)


class ServedRequest(Protocol):
    """The request whose response is sent."""

    @property
    def keep_alive(self) -> bool:
        """Whether the client wants to send another request."""

    @property
    def is_http_10(self) -> bool:
        """Whether the client speaks HTTP/1.0: no chunks, and no 1xx responses."""


class SendingConnection(GateRequestHandler):
    """One connection from a client: the part that sends responses, a ``BodySink``."""

    __slots__ = (
        "_awaited",
        "_connection",
        "_drain",
        "_is_chunked",
        "_is_closing_after",
        "_is_to_splice",
        "_is_until_close",
        "_known",
        "_request_id",
        "_sent",
        "_status",
        "head_table",
    )

    head_table: HeadReader

    def __init__(self, *args: object, drain: Drain | None = None, **options: Any) -> None:
        """``drain``: tells when each response is the last one on its connection."""
        super().__init__(*args, **options)
        self._drain = drain or Drain()
        self._known: ServedRequest | None = None
        self._awaited: AwaitedResponse | None = None  # if a task awaits the response
        self._connection: BodySource | None = None
        self._request_id = b""
        self._is_closing_after = False
        self._is_chunked = False
        self._is_until_close = False
        self._is_to_splice = False
        self._status = 0  # of the response that has begun
        self._sent = 0

    # --- what depends on the request

    @abc.abstractmethod
    def owner(self) -> ConnectionOwner | None:
        """Return the owner of a connection that must not be shared; ``None``: close it."""

    @abc.abstractmethod
    def receive(
        self,
        connection: UpstreamConnection | None,
        response: ResponseStart,
        *,
        was_searched: bool,
    ) -> BodySink:
        """Choose the receiver of a response's body, and begin with it; returns the receiver.

        ``connection``: ``None`` if it was released; ``was_searched``: a search has shown that the
        body must be rewritten. Raises :class:`GateError` if the response is refused.
        """

    def end_at_drain(self) -> None:
        """The response is an event stream."""

    def _streams(self) -> None:
        """The head was written, and more of the body follows."""

    def _release(self) -> None:
        """The response is over: release what was held for it."""

    def _record(self, known: ServedRequest, status: int) -> None:
        """The response is over, and no task has awaited it."""

    # --- called by a task that awaits the response

    def serve(self, known: ServedRequest, awaited: AwaitedResponse, request_id: bytes) -> None:
        """Send the response that ``awaited`` is for, from now on until it has ended.

        ``request_id``: sent with the response, if it is not empty.
        """
        self._known = known
        self._awaited = self.exchange = awaited
        self._request_id = request_id
        self._sent = self._status = 0
        self._is_closing_after = False

    def give_up(self, awaited: AwaitedResponse) -> None:
        """The task does not await this response any more."""
        awaited.discard()
        if self._awaited is awaited:
            self._done()

    def upgrade(self, pairs: Pairs) -> None:
        """Write a 101; the task owns the transport afterwards.

        Raises ``ConnectionResetError`` if the client has disconnected.
        """
        lines = [b"HTTP/1.1 101 Switching Protocols\r\n", *(b"%b: %b\r\n" % pair for pair in pairs)]
        if self._known is None:
            raise ConnectionResetError("the client has disconnected")
        self._connection = None
        self.head(101, lines, None, b"", is_done=True)

    @property
    def sent(self) -> int:
        """Bytes of the current response's body so far."""
        return self._sent

    # --- before the final head

    def settle(self, connection: UpstreamConnection, response: ResponseStart) -> ResponseStart:
        """Settle what the head means for its connection; returns the response to be passed on.

        It happens before the connection can be released. Raises :class:`GateError`.
        """
        head = response.plain()
        connection.settle(head.headers, self.owner)
        if connection.owner is not None and not head.may_reuse:
            self._close = True  # the two connections end together
        if is_event_stream(head.headers):
            self.end_at_drain()
        return response._replace(read=head)

    def receive_from(self, source: BodySource | None) -> None:
        """Pause and end ``source`` with the client from now on."""
        self._connection = source
        if self._paused and source is not None:
            source.pause()

    def write_interim(self, status: int, headers: Pairs) -> None:
        """Write a 1xx response, unless the final one has begun (RFC 9110, 15.2).

        Clients of HTTP/1.0 know none of them.
        """
        known, transport = self._known, self.transport
        if known is None or known.is_http_10 or self._status or transport is None:
            return
        if not transport.is_closing():
            transport.write(interim_head(status, headers))

    def failed(self, error: GateError) -> None:
        """No response follows, and nothing was sent."""
        awaited, self._awaited = self._awaited, None
        self._known = self.exchange = self._connection = None
        self._release()
        if awaited is not None:
            awaited.fail(error)

    # --- the final response

    def head(
        self, status: int, lines: list[bytes], length: int | None, first: bytes, *, is_done: bool
    ) -> None:
        known, transport = self._known, self.transport
        if known is None:
            return
        if transport is None or transport.is_closing():
            self._status = 499
            self._done()
            return
        self._status = status
        self._sent = len(first)
        self._is_chunked = length == -1
        is_last = (
            not known.keep_alive
            or self._close
            or self._drain.is_draining
            or self._phase is Phase.CONTENT  # unread content can't be skipped safely
        )
        if known.is_http_10:
            lines[0] = b"HTTP/1.0" + lines[0][8:]
            if self._is_chunked:
                self._is_chunked, self._is_until_close = False, True
                length, is_last = None, True
        if self._awaited is not None:
            is_last = is_last or status == 101
            self._awaited.begin(status, closes=is_last)
        self._is_closing_after = is_last
        end = b"\r\n"
        if is_last or known.is_http_10 or status == 101:
            end = connection_end(status, is_last=is_last, is_http_10=known.is_http_10)
        write_start(transport, lines, self._request_id, length, first, end, is_done=is_done)
        if is_done:
            self._connection = None
            self._finish()
            return
        self._streams()
        connection = self._connection
        if connection is not None and connection.may_splice(transport):
            # The write buffer must be empty first; resume_writing() is called when it is.
            connection.pause()
            self._is_to_splice = True
            transport.set_write_buffer_limits(high=0)
            if not transport.get_write_buffer_size():
                self._begin_splice(connection, transport)
        else:
            transport.set_write_buffer_limits(high=BUFFER)

    def _begin_splice(self, connection: BodySource, transport: asyncio.Transport) -> None:
        self._is_to_splice = False
        transport.set_write_buffer_limits(high=BUFFER)
        connection.splice_to(transport)

    def moved(self, count: int) -> None:
        self._sent += count

    def piece(self, data: bytes) -> None:
        transport = self.transport
        if transport is None:
            return
        self._sent += len(data)
        if self._is_chunked:
            write_chunk(transport, data)
        else:
            transport.write(data)

    def end(self) -> None:
        self._connection = None
        if self._is_chunked and self.transport is not None:
            self.transport.write(LAST_CHUNK)
        self._finish()

    def broken(self, error: GateError) -> None:
        log.warning("transfer of a body aborted: error=%s", error.code)
        self._connection = None
        self.break_off()

    def break_off(self) -> None:
        """End the response; the client detects that its end is missing.

        With a length or chunks the missing end shows it, and the sent bytes still arrive; a body
        that ends with the connection (HTTP/1.0) needs a reset.
        """
        transport, is_until_close = self.transport, self._is_until_close
        self._is_closing_after = True
        self._done()
        if is_until_close and transport is not None:
            transport.abort()
        self.force_close()

    def cut_off(self, _reason: str = "") -> None:
        """End the connection at once: the token behind it has ended."""
        transport = self.transport
        self._is_closing_after = True
        self._done()
        if transport is not None:
            transport.abort()

    def _finish(self) -> None:
        """The response is complete: continue with the next request."""
        is_awaited = self._awaited is not None
        self._done()
        if is_awaited:  # the rest is aiohttp's work
            return
        if self._is_closing_after or self._close or self._force_close:
            self.end_connection()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._unread:
            self._advance()

    def end_connection(self) -> None:
        """The last response is complete: close the connection."""
        self.force_close()

    def _done(self) -> None:
        known, self._known = self._known, None
        awaited, self._awaited = self._awaited, None
        self.exchange = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
        self._is_to_splice = False
        status, self._status = self._status, 0
        if awaited is not None:
            awaited.end(self._sent, closes=self._is_closing_after or self._close)
        elif known is not None:
            self._request_in_progress = False
            if self._handler_waiter is not None and not self._handler_waiter.done():
                self._handler_waiter.set_result(None)
            self._record(known, status)
        self._release()

    # --- the connection

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._connection is not None:
            self._connection.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        connection = self._connection
        if connection is None:
            return
        if self._is_to_splice and self.transport is not None:
            self._begin_splice(connection, self.transport)
        else:
            connection.resume()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._known is not None:
            self._status = self._status or 499
            self._done()
        super().connection_lost(exc)

    def close(self) -> None:
        """Close the connection after the response that is being sent, if any."""
        if self._known is None:
            super().close()
        else:
            self._close = True

    def close_when_done(self) -> None:
        """See :meth:`GateRequestHandler.close_when_done`."""
        if self._known is None:
            super().close_when_done()
        else:
            self._close = True

    def _process_keepalive(self) -> None:
        if self._known is None:
            super()._process_keepalive()
        else:
            self._keepalive_handle = self._loop.call_later(
                self._keepalive_timeout, self._process_keepalive
            )

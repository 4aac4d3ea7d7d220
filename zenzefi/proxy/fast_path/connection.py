"""The fast path's connections to the upstream.

States of a connection, by its receiver (invariant: at most one of the two is set)::

              send                 final head             end of body
    IDLE -------------> HEAD -------------------> BODY ----------------> IDLE
    (none)            (_client)                 (_sink)                  or closed

- IDLE: the connection is in the pool. Any byte received closes it: it must not become the start of
  the next response.
- HEAD: bytes are collected up to the empty line, then read by the head table. 1xx responses except
  100 are kept for the standard path, which also gets the final response then. A response without a
  body, or with its whole body behind the head, skips BODY.
- BODY: the receiver is the client's connection, or a :class:`HandedOver` of the standard path. From
  1 MB on, a splice may move the rest of the body.

A connection returns to the pool (or, if it is authenticated, to its owner) only if the response
allows it, the body ended exactly where the received bytes end, and no splice took place. All other
connections are closed.

Every error ends in one of three ways: the pooled connection was closed before the first byte, so
the request is sent once more (:meth:`ResponseSink.send_again`); the head is malformed, so the
standard path sends the request again with its more lenient parser; or the exchange fails, and the
receiver gets the error. A truncated body is never reported as complete.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import httptools

from zenzefi.errors import GateError, UpstreamProtocolError
from zenzefi.proxy.errors import UpstreamTimeout, UpstreamUnreachable
from zenzefi.proxy.fast_path.framing import BodyFraming, Framing
from zenzefi.proxy.fast_path.handover import HandedOver
from zenzefi.proxy.fast_path.head_table import Head, parse_head
from zenzefi.proxy.fast_path.held_response import HeldResponse
from zenzefi.proxy.fast_path.sinks import BodySink, ResponseSink
from zenzefi.proxy.fast_path.splice import LARGE, Splice, is_possible
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.upstream.connection_auth import is_challenged
from zenzefi.proxy.upstream.http_connection import is_proper_end
from zenzefi.proxy.upstream.ownership import ConnectionOwner
from zenzefi.proxy.upstream.slots import Slot
from zenzefi.rewriting.origin_search import LONGEST

if TYPE_CHECKING:
    from zenzefi.proxy.fast_path import FastPath

_MAX_HEAD = 64 * 1024  # bytes
_START = b"HTTP/1."
_MAX_LINES = 128
_MAX_INTERIM = 16  # 1xx responses to one request; RFC 9110, 15.2 sets no limit


class FastPathConnection(asyncio.Protocol):
    """One connection to the upstream, with at most one exchange at a time."""

    __slots__ = (
        "_body",
        "_client",
        "_fast_path",
        "_got_eof",
        "_head",
        "_hints",
        "_interims",
        "_is_paused",
        "_is_reusable",
        "_is_waiting",
        "_sink",
        "_splice",
        "is_head",
        "is_reused",
        "owner",
        "silent_sweeps",
        "slot",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, fast_path: FastPath, slot: Slot) -> None:
        slot.connection = self
        self.slot = slot
        self.owner: ConnectionOwner | None = None
        """The client that the connection belongs to after this exchange."""
        self._fast_path = fast_path
        self._client: ResponseSink | None = None  # until the head of its response is complete
        self._sink: BodySink | None = None  # from then until the end of the body
        self.is_reused = False
        self.is_head = False
        self.silent_sweeps = 0  # sweeps since the last received byte
        self._got_eof = False
        self._head = b""
        self._interims = 0
        self._hints: list[tuple[int, Pairs]] = []  # 1xx responses to pass on
        self._body = BodyFraming()
        self._is_reusable = False
        self._is_paused = False
        self._splice: Splice | None = None
        self._is_waiting = False  # the splice waits for the client

    # --- the exchange

    def send(self, client: ResponseSink, request: bytes, *, is_head: bool) -> None:
        """Start an exchange: ``request`` is a complete request without content."""
        self._client = client
        self.is_head = is_head
        self.silent_sweeps = 0
        self.transport.write(request)

    @property
    def is_busy(self) -> bool:
        """Whether an exchange is in progress."""
        return self._client is not None or self._sink is not None

    @property
    def is_paused(self) -> bool:
        """Whether it waits for a slower receiver."""
        return self._is_paused if self._splice is None else self._is_waiting

    # --- the splice of a large body

    def may_splice(self, sink: asyncio.Transport) -> bool:
        """Whether the rest of the body is large enough and both sockets are without TLS."""
        return (
            self._body.kind is Framing.SIZED
            and self._body.remaining >= LARGE
            and is_possible(self.transport, sink)
        )

    def splice_to(self, sink: asyncio.Transport) -> None:
        """Start the splice. Reading is paused, and the write buffer of ``sink`` is empty."""
        try:
            self._splice = Splice(self, self.transport, sink, self._body.remaining)
        except OSError:  # no file descriptors are available: copy the body
            self.resume()

    def moved(self, count: int, *, is_waiting: bool) -> None:
        """The splice has written bytes to the client."""
        if count:
            self.silent_sweeps = 0
        self._body.remaining -= count
        self._is_waiting = is_waiting
        if self._sink is not None:
            self._sink.moved(count)

    def spliced(self) -> None:
        """The splice has written the whole body."""
        self._body.kind = Framing.NONE
        # Bytes after the body were not checked, so the connection must not be reused.
        self._is_reusable = False
        self._end()

    def source_broke(self) -> None:
        """The upstream closed the connection before the end of the body."""
        self._fail(UpstreamUnreachable())

    def sink_broke(self) -> None:
        """The client has disconnected. Its own connection reports that."""
        self._end_splice()

    def _end_splice(self) -> None:
        splice, self._splice = self._splice, None
        if splice is not None:
            splice.close()

    def pause(self) -> None:
        """Stop reading, because the receiver is slower."""
        if not self._is_paused and not self.transport.is_closing():
            self._is_paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Continue reading."""
        if self._is_paused and self._splice is None:
            self._is_paused = False
            self.silent_sweeps = 0
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def abandon(self) -> None:
        """Close the connection, because the response is not needed."""
        self._client = self._sink = None
        self._end_splice()
        self.slot.closing()
        self.transport.abort()

    def close_idle(self) -> None:
        """Close it to make room for another connection."""
        self.abandon()

    def time_out(self) -> None:
        """Fail the exchange, because the upstream or the client was silent for too long."""
        self._fail(UpstreamTimeout())

    # --- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection was established."""
        self.transport = cast(asyncio.Transport, transport)
        self._fast_path.connections.add(self)

    def eof_received(self) -> None:
        """The upstream has ended its side of the connection."""
        self._got_eof = is_proper_end(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._fast_path.connection_closed(self)
        self._end_splice()
        client = self._client
        if client is not None and self.is_reused and not self._head and not self._interims:
            self._client = None
            client.send_again()
        elif (
            self._sink is not None
            and self._body.kind is Framing.UNTIL_CLOSE
            and exc is None
            and self._got_eof
        ):
            self._end()
        else:
            self._fail(UpstreamUnreachable())

    def data_received(self, data: bytes) -> None:
        """Bytes from the upstream."""
        if not self._head:  # the timeout covers a whole head, even if it arrives byte by byte
            self.silent_sweeps = 0
        sink = self._sink
        if sink is not None:
            try:
                data = self._body.unframed(data)
            except httptools.HttpParserError:
                if whole := self._body.joined():  # the bytes before the error are delivered
                    sink.piece(whole)
                self._fail(UpstreamProtocolError())
                return
            if data:
                sink.piece(data)
            if self._body.kind is Framing.NONE:
                self._end()
        elif self._client is not None:
            if self._head:
                data = self._head + data
                self._head = b""
            end = data.find(b"\r\n\r\n") + 4
            if end > 3:
                self._read_head(data, end)
            elif (
                b"\n\n" in data or not data.startswith(_START[: len(data)]) or len(data) > _MAX_HEAD
            ):
                self._retry_on_standard_path()
            else:
                self._head = data
        else:
            # Unsolicited bytes must not become the start of the next response.
            self.abandon()

    # --- the head of the response

    def _read_head(self, data: bytes, end: int) -> None:
        client = self._client
        if client is None:
            return
        head = data[:end]
        if end > _MAX_HEAD or head.count(b"\r\n") > _MAX_LINES:
            self._retry_on_standard_path()
            return
        try:
            read = client.head_table.read(head)
        except httptools.HttpParserUpgrade:
            self._fail(UpstreamProtocolError())  # an unsolicited 101
            return
        except httptools.HttpParserError:
            self._retry_on_standard_path()
            return
        except UpstreamProtocolError as error:
            self._fail(error)
            return
        status = read.status
        self._is_reusable = read.may_reuse
        if status < 200:
            self._interim(data, end, status)
            return
        has_body = not (self.is_head or status == 204 or status == 304)
        length = read.length if has_body else 0
        is_broken = False
        try:
            first = self._body.begin(data, end, length, is_chunked=read.is_chunked)
        except httptools.HttpParserError:
            first, is_broken = self._body.joined(), True
            if not first:
                self._fail(UpstreamProtocolError())
                return
        self._client = None
        self._begin_response(client, head, read, first, has_body=has_body)
        if is_broken:
            self._fail(UpstreamProtocolError())

    def _begin_response(
        self, client: ResponseSink, head: bytes, read: Head, first: bytes, *, has_body: bool
    ) -> None:
        """Choose the receiver of a response: the client, or the standard path."""
        status, length = read.status, read.length
        is_done = self._body.kind is Framing.NONE
        is_usual = read.is_usual and not self._hints
        is_searched = is_usual and read.search is not None and (has_body or self.is_head)
        if is_searched:
            if not is_done and length <= LONGEST:
                self._sink = HeldResponse(self, client, head, read, first)
                return
            is_usual = is_done and has_body and not read.finds(first)
        if is_usual and (is_done or client.register()):
            if is_done:
                self._release()
            else:
                self._sink = client
            announced = length if length >= 0 and status != 204 else -1 if has_body else None
            client.head(status, read.lines, announced, first, is_done=is_done)
            return
        reason, headers = parse_head(head)
        if is_challenged(headers):
            self.owner = client.owner()
            self._is_reusable = self._is_reusable and self.owner is not None
        response = HandedOver(self, status, reason, headers, length, first, has_body=has_body)
        response.interims, self._hints = self._hints, []
        response.may_pass_unchanged = not is_searched
        self._sink = response
        if is_done:
            self._end()
        client.hand_over(response)

    def replace_sink(self, old: BodySink, new: BodySink) -> bool:
        """Let ``new`` receive the rest of the body, unless ``old`` does not receive it any more."""
        if self._sink is not old:
            return False
        self._sink = new
        return True

    def _interim(self, data: bytes, end: int, status: int) -> None:
        self._interims += 1
        if self._interims > _MAX_INTERIM:
            self._fail(UpstreamProtocolError())
            return
        if status != 100:  # the fast path sends no Expect, so a 100 is not passed on
            self._hints.append((status, parse_head(data[:end])[1]))
        if len(data) > end:
            self.data_received(data[end:])

    def _end(self) -> None:
        sink = self._sink
        self._release()
        if sink is not None:
            sink.end()

    def _release(self) -> None:
        """End the exchange: return the connection to the pool if it is reusable, else close it."""
        if self._splice is not None:
            self._end_splice()
        self._sink = None
        self._body.chunk_parser = None
        self._interims = 0
        if self._is_reusable and not self._body.is_excess and not self.transport.is_closing():
            if self._is_paused:
                self.resume()
            if self.owner is not None:
                self._fast_path.connections.discard(self)
                self._fast_path.upstream.adopt(self.transport, self.slot, self.owner)
            else:
                self._fast_path.release(self)
        else:
            self.transport.abort()

    def _retry_on_standard_path(self) -> None:
        """The strict parser rejected the head: let the lenient parser of the standard path decide.

        The standard path sends the request again, which GET and HEAD allow (RFC 9110, 9.2.2). The
        fast path is disabled for a while, so that few requests are sent twice.
        """
        client, self._client = self._client, None
        self._head = b""
        self._fast_path.disable_temporarily()
        self.transport.abort()
        if client is not None:
            client.hand_over(None)

    def _fail(self, error: GateError) -> None:
        client, self._client = self._client, None
        sink, self._sink = self._sink, None
        self._end_splice()
        self.transport.abort()
        if client is not None:
            client.hand_over(error)
        elif sink is not None:
            sink.broken(error)

"""The fast path's connections to the upstream, and the framing of what comes back (RFC 9112, 6)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import httptools

from zenzefi.errors import GateError, UpstreamProtocolError
from zenzefi.proxy.errors import UpstreamTimeout, UpstreamUnreachable
from zenzefi.proxy.fast_path.framing import BodyFraming, Framing
from zenzefi.proxy.fast_path.handover import HandedOver
from zenzefi.proxy.fast_path.head_table import collect
from zenzefi.proxy.fast_path.sinks import BodySink, ResponseSink
from zenzefi.proxy.fast_path.splice import LARGE, Splice, is_possible
from zenzefi.proxy.headers.rules import Pairs
from zenzefi.proxy.upstream.connection_auth import is_challenged
from zenzefi.proxy.upstream.http_connection import is_proper_end
from zenzefi.proxy.upstream.ownership import ConnectionOwner
from zenzefi.proxy.upstream.slots import Slot

if TYPE_CHECKING:
    from zenzefi.proxy.fast_path import FastPath

_MAX_HEAD = 64 * 1024  # bytes
_START = b"HTTP/1."
_MAX_LINES = 128
_MAX_INTERIM = 16  # 1xx answers to one request; RFC 9110, 15.2 sets no limit, a flood needs one


class FastPathConnection(asyncio.Protocol):
    """One connection to the upstream, with at most one exchange on it."""

    __slots__ = (
        "_body",
        "_client",
        "_got_eof",
        "_head",
        "_hints",
        "_interims",
        "_is_paused",
        "_is_reusable",
        "_is_waiting",
        "_path",
        "_sink",
        "_splice",
        "is_head",
        "is_reused",
        "owner",
        "quiet",
        "slot",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, fast_path: FastPath, slot: Slot) -> None:
        slot.connection = self
        self.slot = slot
        self.owner: ConnectionOwner | None = None
        """The client that it is to belong to once the exchange is over."""
        self._path = fast_path
        self._client: ResponseSink | None = None  # until the head of its answer is complete
        self._sink: BodySink | None = None  # from then until the end of the body
        self.is_reused = False
        self.is_head = False
        self.quiet = 0  # sweeps since a byte came
        self._got_eof = False
        self._head = b""
        self._interims = 0
        self._hints: list[tuple[int, Pairs]] = []  # 1xx answers to pass on
        self._body = BodyFraming()
        self._is_reusable = False
        self._is_paused = False
        self._splice: Splice | None = None
        self._is_waiting = False  # the splice, for the browser

    # --- the exchange

    def send(self, client: ResponseSink, request: bytes, *, is_head: bool) -> None:
        """Begin an exchange: ``request`` is a whole request without content."""
        self._client = client
        self.is_head = is_head
        self.quiet = 0
        self.transport.write(request)

    @property
    def is_busy(self) -> bool:
        """Whether an exchange is on it."""
        return self._client is not None or self._sink is not None

    @property
    def is_paused(self) -> bool:
        """Whether it waits for a slower reader."""
        return self._is_paused if self._splice is None else self._is_waiting

    # --- the rest of a large body, past this program

    def may_splice(self, sink: asyncio.Transport) -> bool:
        """Whether the rest of the body is large enough, and both sockets are plain ones."""
        return (
            self._body.kind is Framing.SIZED
            and self._body.left >= LARGE
            and is_possible(self.transport, sink)
        )

    def splice_to(self, sink: asyncio.Transport) -> None:
        """Begin, while reading is paused and nothing waits to be written to ``sink``."""
        try:
            self._splice = Splice(self, self.transport, sink, self._body.left)
        except OSError:  # no descriptors left: then piece by piece
            self.resume()

    def moved(self, count: int, *, is_waiting: bool) -> None:
        """The splice: bytes have left."""
        if count:
            self.quiet = 0
        self._body.left -= count
        self._is_waiting = is_waiting
        if self._sink is not None:
            self._sink.moved(count)

    def spliced(self) -> None:
        """The splice: all of it has left."""
        self._body.kind = Framing.NONE
        # What may lie behind the body was not looked at, so nothing else may follow on it.
        self._is_reusable = False
        self._end()

    def source_broke(self) -> None:
        """The splice: the upstream has ended before the end of the body."""
        self._fail(UpstreamUnreachable())

    def sink_broke(self) -> None:
        """The splice: the browser is gone, as its own connection will tell."""
        self._end_splice()

    def _end_splice(self) -> None:
        splice, self._splice = self._splice, None
        if splice is not None:
            splice.close()

    def pause(self) -> None:
        """Stop reading: whoever takes the body is slower."""
        if not self._is_paused and not self.transport.is_closing():
            self._is_paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._is_paused and self._splice is None:
            self._is_paused = False
            self.quiet = 0
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def abandon(self) -> None:
        """Nobody wants the answer any more."""
        self._client = self._sink = None
        self._end_splice()
        self.slot.closing()
        self.transport.abort()

    def close_idle(self) -> None:
        """Close it, to make room for another one."""
        self.abandon()

    def time_out(self) -> None:
        """The upstream was silent for longer than allowed."""
        self._fail(UpstreamTimeout())

    # --- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport = cast(asyncio.Transport, transport)
        self._path.connections.add(self)

    def eof_received(self) -> None:
        """The upstream has ended the connection."""
        self._got_eof = is_proper_end(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The upstream has closed, or the network broke."""
        self._path.forget(self)
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
        """Bytes of the answer."""
        if not self._head:  # a head that comes in drops must come to an end all the same
            self.quiet = 0
        sink = self._sink
        if sink is not None:
            try:
                data = self._body.unframed(data)
            except httptools.HttpParserError:
                if whole := self._body.joined():  # what came before it is delivered
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
                self._answer(data, end)
            elif (
                b"\n\n" in data or not data.startswith(_START[: len(data)]) or len(data) > _MAX_HEAD
            ):
                self._leave_to_the_general_way()
            else:
                self._head = data
        else:
            # Bytes nobody asked for must not become the beginning of somebody's answer.
            self.abandon()

    # --- the head of the answer

    def _answer(self, data: bytes, end: int) -> None:
        client = self._client
        if client is None:
            return
        head = data[:end]
        if end > _MAX_HEAD or head.count(b"\r\n") > _MAX_LINES:
            self._leave_to_the_general_way()
            return
        try:
            status, lines, length, is_chunked, is_usual, self._is_reusable = client.rows.read(head)
        except httptools.HttpParserUpgrade:
            self._fail(UpstreamProtocolError())  # a 101 that nobody asked for
            return
        except httptools.HttpParserError:
            self._leave_to_the_general_way()
            return
        except UpstreamProtocolError as error:
            self._fail(error)
            return
        if status < 200:
            self._interim(data, end, status)
            return
        has_body = not (self.is_head or status == 204 or status == 304)
        is_broken = False
        try:
            first = self._body.begin(data, end, length if has_body else 0, is_chunked=is_chunked)
        except httptools.HttpParserError:
            first, is_broken = self._body.joined(), True
            if not first:
                self._fail(UpstreamProtocolError())
                return
        self._client = None
        is_done = self._body.kind is Framing.NONE
        if is_usual and not self._hints and (is_done or client.hold()):
            if is_done:
                self._give_back()
            else:
                self._sink = client
            said = length if length >= 0 and status != 204 else -1 if has_body else None
            client.head(status, lines, said, first, is_done=is_done)
            if is_broken:
                self._fail(UpstreamProtocolError())
            return
        reason, headers = collect(head)
        if is_challenged(headers):
            self.owner = client.owner()
            self._is_reusable = self._is_reusable and self.owner is not None
        begun = HandedOver(self, status, reason, headers, length, first, has_body=has_body)
        begun.interims, self._hints = self._hints, []
        self._sink = begun
        if is_done:
            self._end()
        elif is_broken:
            self._fail(UpstreamProtocolError())
        client.hand_over(begun)

    def _interim(self, data: bytes, end: int, status: int) -> None:
        self._interims += 1
        if self._interims > _MAX_INTERIM:
            self._fail(UpstreamProtocolError())
            return
        if status != 100:  # that one answers an expectation, and the fast path has none
            self._hints.append((status, collect(data[:end])[1]))
        if len(data) > end:
            self.data_received(data[end:])

    def _end(self) -> None:
        sink = self._sink
        self._give_back()
        if sink is not None:
            sink.end()

    def _give_back(self) -> None:
        """The exchange is over: another one may use the connection, unless something is left."""
        if self._splice is not None:
            self._end_splice()
        self._sink = None
        self._body.chunk_parser = None
        self._interims = 0
        if self._is_reusable and not self._body.is_excess and not self.transport.is_closing():
            if self._is_paused:
                self.resume()
            if self.owner is not None:
                self._path.connections.discard(self)
                self._path.upstream.adopt(self.transport, self.slot, self.owner)
            else:
                self._path.give_back(self)
        else:
            self.transport.abort()

    def _leave_to_the_general_way(self) -> None:
        """The head is not strictly HTTP, perhaps only sloppy.

        The standard path's parser is more lenient and has the last word. It asks anew, which GET
        and HEAD allow (RFC 9110, 9.2.2), and the fast path rests, so that this stays rare.
        """
        client, self._client = self._client, None
        self._head = b""
        self._path.rest()
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

"""A connection to the upstream, for one exchange at a time, driven by callbacks.

Theory of operation
-------------------

States, by the receiver (invariant: at most one of the three is set)::

              send                 final head             end of body
    IDLE -------------> HEAD -------------------> BODY ----------------> IDLE
    (none)            (_client)    |            (_sink)                  or closed
                                   +--- 101 ---> UPGRADED --detach--> (not ours)
                                                 (_tail)

- IDLE: the connection is in the pool, or belongs to a client. Any byte received closes it: it must
  not become the start of the next response.
- HEAD: bytes are collected up to the empty line, then read by the client's head table. A head that
  the strict parser rejects is read leniently (:mod:`zenzefi.proxy.upstream.response_head`). 1xx
  responses are passed on, and limited by their rate.
- BODY: the client has chosen a receiver (:meth:`ResponseSink.begin`). From 1 MB on, a splice may
  move the rest of the body. A response without a body, or with its whole body behind the head,
  skips this state.
- UPGRADED: bytes are kept for the next owner of the transport, also if the connection is lost
  before it comes.

The content of a request is written meanwhile (:class:`RequestContent`), in HEAD or BODY. Its source
is paused while the upstream reads more slowly.

A connection is used again only if the response allows it, the body ended exactly where the received
bytes end, the content was sent, and no splice took place. All other connections are closed.

All received bytes are delivered: those that arrived before a failed write are read from the socket
before the exchange ends. Then an exchange ends in one of three ways. If a reused connection was
closed before the first byte of a response, the client may send the request again
(:meth:`ResponseSink.send_again`). Otherwise the client or the receiver gets the error. A truncated
body is never reported as complete.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol, cast

import httptools

from zenzefi.errors import GateError, UpstreamProtocolError
from zenzefi.http.request_handler import STALL_SECONDS
from zenzefi.proxy.errors import UpstreamTimeout, UpstreamUnreachable
from zenzefi.proxy.upstream.body_flow import BUFFER, FlowControlledConnection
from zenzefi.proxy.upstream.framing import Framing
from zenzefi.proxy.upstream.interim_rate import InterimRate
from zenzefi.proxy.upstream.request_content import RequestContent
from zenzefi.proxy.upstream.response_head import (
    FoundHead,
    HeadCollector,
    PlainHead,
    parse_head,
    read_head,
)
from zenzefi.proxy.upstream.sinks import BodySink, ContentSource, ResponseSink, ResponseStart
from zenzefi.proxy.upstream.slots import Slot
from zenzefi.proxy.upstream.transports import is_proper_end, unread_of

log = logging.getLogger(__name__)

IDLE_SECONDS = 25.0
"""How long a pooled connection may be idle; below the usual keep-alive timeouts of servers."""


class ConnectionKeeper(Protocol):
    """Knows the open connections of one upstream."""

    connections: set[UpstreamConnection]

    def note_sloppy(self) -> None:
        """A head was malformed, and the lenient parser has read it."""


class UpstreamConnection(FlowControlledConnection):
    """One connection to the upstream, with at most one exchange at a time."""

    __slots__ = (
        "_client",
        "_got_bytes",
        "_got_eof",
        "_head",
        "_interims",
        "_is_lost",
        "_keeper",
        "_may_upgrade",
        "_tail",
        "content",
        "is_head",
        "is_reused",
    )

    def __init__(self, keeper: ConnectionKeeper, slot: Slot) -> None:
        super().__init__(slot)
        slot.connection = self
        self._keeper = keeper
        self._client: ResponseSink | None = None  # until the head of its response is complete
        self._tail: bytearray | None = None  # the bytes after a 101
        self.content: RequestContent | None = None
        """The content of the current request, if the client sends it in pieces."""
        self.is_reused = False
        self.is_head = False
        self._may_upgrade = False
        self._got_bytes = False
        self._got_eof = False
        self._head = HeadCollector()
        self._interims = InterimRate()
        self._is_lost = False

    # --- the exchange

    def send(
        self,
        client: ResponseSink,
        request: bytes,
        *,
        is_head: bool,
        source: ContentSource | None = None,
        length: int | None = None,
        may_upgrade: bool = False,
    ) -> None:
        """Start an exchange.

        ``request``: the head, and the content or its first part; ``length``: bytes of the content
        that ``source`` will write, ``None`` if it is chunked; ``may_upgrade``: a 101 is
        expected. The connection may be lost already: then the methods of ``client`` are called
        before this one returns.
        """
        self._client = client
        self.is_head = is_head
        self._may_upgrade = may_upgrade
        self.content = None
        self.silent_sweeps = 0
        self._got_bytes = False
        if self._interims.count:
            self._interims.clear()
        if self.transport.is_closing():
            self._ended(None)
        else:
            if source is not None:  # before the write, which may pause it
                self.content = RequestContent(self.transport, source, length)
            self.transport.write(request)

    def deliver_to(self, sink: BodySink) -> None:
        """Let ``sink`` receive the rest of the body."""
        self._sink = sink

    def release(self) -> None:
        """The exchange is complete: use the connection again if possible, else close it."""
        if self._splice is not None:
            self._end_splice()
        # An upstream that reads no more of the content would not read the next request either.
        is_sent = (self.content is None or self.content.is_complete) and not (
            self.transport.get_write_buffer_size()
        )
        self._client = self._sink = self.content = None
        self._body.chunk_parser = None
        if (
            not (self._is_reusable and is_sent)
            or self._body.is_excess
            or self.transport.is_closing()
            or (self.is_private and self.owner is None)
        ):
            self.abandon()
            return
        if self._is_paused:
            self.resume()
        if self.owner is None:
            self.slot.make_idle()

    def detach(self) -> tuple[asyncio.Transport | None, bytes]:
        """Give the upgraded transport away, with the bytes that came after the 101.

        The transport is ``None`` if the connection is lost.
        """
        tail, self._tail = bytes(self._tail or b""), None
        self.disown()
        self._keeper.connections.discard(self)
        self.slot.connection = None  # no cycle: see zenzefi.runtime.memory
        return None if self._is_lost else self.transport, tail

    @property
    def is_usable(self) -> bool:
        """Whether an exchange may begin."""
        return not self.is_busy and not self.transport.is_closing()

    @property
    def is_busy(self) -> bool:
        """Whether an exchange is in progress."""
        return self._client is not None or self._sink is not None or self._tail is not None

    def abandon(self) -> None:
        """Close the connection, because the response is not needed."""
        self._client = self._sink = self.content = None
        self._close()

    def close_idle(self) -> None:
        """Close it to make room for another connection."""
        self.abandon()

    def _close(self) -> None:
        self._end_splice()
        self.end_with_owner()
        self.slot.closing()
        self.transport.abort()

    # --- time

    def sweep(self, interval: float, read_timeout: float) -> None:
        """Called every ``interval`` seconds: end an exchange without progress, or an idle time."""
        self.silent_sweeps += 1
        silent = (self.silent_sweeps - 1) * interval
        if not self.is_busy:
            if silent >= IDLE_SECONDS and self.owner is None:
                self.abandon()
        elif self._tail is not None:
            return  # the next owner of the transport is about to come
        elif self.is_paused:
            if silent >= STALL_SECONDS:
                self.fail(UpstreamTimeout())
        elif self.content is not None and self.content.is_awaited:
            self.silent_sweeps = 0  # the source of the content has a timeout
        elif silent >= read_timeout:
            self.fail(UpstreamTimeout())

    # --- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection was established."""
        self.transport = cast(asyncio.Transport, transport)
        self._keeper.connections.add(self)

    def pause_writing(self) -> None:
        """The upstream reads the content more slowly than it comes."""
        self.silent_sweeps = 0
        if self.content is not None:
            self.content.pause()

    def resume_writing(self) -> None:
        """The upstream has read some of the content."""
        self.silent_sweeps = 0
        if self.content is not None:
            self.content.resume()

    def eof_received(self) -> None:
        """The upstream has ended its side of the connection."""
        self._got_eof = is_proper_end(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        if exc is not None and self.is_busy:
            for data in unread_of(self.transport):
                self.data_received(data)
        self._is_lost = True
        self._keeper.connections.discard(self)
        self._end_splice()
        self.slot.closed()
        self._ended(exc)
        self.end_with_owner()

    def _ended(self, exc: Exception | None) -> None:
        client = self._client
        if client is not None and self.is_reused and not self._got_bytes:
            self._client = self.content = None
            client.send_again()
        elif (
            self._sink is not None
            and self._body.kind is Framing.UNTIL_CLOSE
            and exc is None
            and self._got_eof
        ):
            self.body_done()
        else:
            self.fail(UpstreamUnreachable())

    def data_received(self, data: bytes) -> None:
        """Bytes from the upstream."""
        if not self._head.held:  # the timeout covers a whole head, even if it arrives byte by byte
            self.silent_sweeps = 0
        sink = self._sink
        if sink is not None:
            try:
                data = self._body.unframed(data)
            except httptools.HttpParserError:
                if whole := self._body.joined():  # the bytes before the error are delivered
                    sink.piece(whole)
                self.fail(UpstreamProtocolError())
                return
            if data:
                sink.piece(data)
            if self._body.kind is Framing.NONE:
                self.body_done()
        elif self._client is not None:
            self._read_head(self._client, data)
        elif self._tail is not None:
            self._tail += data
            if len(self._tail) > BUFFER:
                self.pause()
        else:
            # Unsolicited bytes must not become the start of the next response.
            self.abandon()

    # --- the head of the response

    def _read_head(self, client: ResponseSink, data: bytes) -> None:
        self._got_bytes = True
        collected = self._head.feed(data)
        if collected is None:
            return
        data, size = collected
        try:
            found = read_head(client.head_table, data, size)
        except (UpstreamProtocolError, httptools.HttpParserError):
            log.warning("malformed response head")
            self.fail(UpstreamProtocolError())
            return
        if found is None:
            self._head.keep(data)
            return
        if found.is_sloppy:
            self._keeper.note_sloppy()
        status = found.facts.status
        if status == 101:
            self._upgrade(client, found, data[found.size :])
        elif status < 200:
            self._interim(client, found, data[found.size :])
        else:
            self._begin(client, found, data)

    def _begin(self, client: ResponseSink, found: FoundHead, data: bytes) -> None:
        facts = found.facts
        status = facts.status
        self._is_reusable = facts.may_reuse
        has_body = not (self.is_head or status == 204 or status == 304)
        length = facts.length if has_body else 0
        is_broken = False
        try:
            first = self._body.begin(data, found.size, length, is_chunked=facts.is_chunked)
        except httptools.HttpParserError:
            first, is_broken = self._body.joined(), True
            if not first:
                self.fail(UpstreamProtocolError())
                return
        is_done = self._body.kind is Framing.NONE
        self._start(client, ResponseStart(found.raw, facts, first, has_body, is_done))
        if is_broken:
            self.fail(UpstreamProtocolError())

    def _upgrade(self, client: ResponseSink, found: FoundHead, rest: bytes) -> None:
        if not self._may_upgrade:
            self.fail(UpstreamProtocolError())
            return
        self._tail = bytearray(rest)
        self._start(client, ResponseStart(found.raw, found.facts, b"", False, False))

    def _start(self, client: ResponseSink, response: ResponseStart) -> None:
        self._client = None
        try:
            client.begin(self, response)
        except GateError as error:
            self._close()
            client.failed(error)

    def _interim(self, client: ResponseSink, found: FoundHead, rest: bytes) -> None:
        if not self._interims.allows(asyncio.get_running_loop().time()):
            self.fail(UpstreamProtocolError())
            return
        facts = found.facts
        if facts.status == 100:
            if self.content is not None:
                self.content.source.invite()
        else:
            headers = facts.headers if isinstance(facts, PlainHead) else parse_head(found.raw)[1]
            try:
                client.interim(facts.status, headers)
            except GateError as error:
                self.fail(error)
                return
        if rest:
            self.data_received(rest)

    def body_done(self) -> None:
        sink = self._sink
        self.release()
        if sink is not None:
            sink.end()

    def fail(self, error: GateError) -> None:
        client, sink = self._client, self._sink
        self._client = self._sink = self.content = None
        self._close()
        if client is not None:
            client.failed(error)
        elif sink is not None:
            sink.broken(error)

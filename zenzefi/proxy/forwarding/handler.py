"""The protocol of a client's connection: aiohttp's request handler behind the fast path.

A request that the fast path can serve is served by callbacks, without a task or a ``web.Request``.
All other requests are left to the base class, and so are requests that fail before their responses
have begun.

Invariants (states: :mod:`zenzefi.proxy.forwarding`):

- ``_known`` is set exactly while the fast path serves a request (WAITING or STREAMING). During that
  time aiohttp's task waits for a request and writes nothing.
- The original request is kept while it WAITs, so it can be handed over. In STREAMING a failure can
  only close the connection.
- An error is taken only by the request that it belongs to (:class:`HandedOver`), and is dropped
  when another request begins or the connection closes.
- A request that ends here is recorded here; a request that was handed over, by the standard path.
- A recognised request never reaches the parser, nor does its content (``_is_raw``): the scanner of
  :mod:`zenzefi.http.framing` alone finds its end. The contents of other requests pass the parser.
- After a response that came before the end of the content, no further request is read.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_request import BaseRequest

from zenzefi.errors import GateError
from zenzefi.http.framing import SizedEnd
from zenzefi.http.request_stream import HELD, Phase
from zenzefi.observability.tracing import ServerSpan
from zenzefi.proxy.errors import UpstreamUnreachable
from zenzefi.proxy.forwarding.client_content import ForwardingContent
from zenzefi.proxy.forwarding.client_response import Original
from zenzefi.proxy.forwarding.handover import HandedOver
from zenzefi.proxy.forwarding.known_request import KnownRequest
from zenzefi.proxy.forwarding.known_requests import without_content
from zenzefi.proxy.forwarding.upload import Upload
from zenzefi.proxy.rewriter import MappedResponse
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.pool import IDEMPOTENT


class ForwardingHandler(ForwardingContent):
    """One connection from a client."""

    __slots__ = ("_is_handing_over",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._is_handing_over = False

    # --- the client's requests

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        address = transport.get_extra_info("peername")
        self._remote = str(address[0]) if isinstance(address, tuple) else ""

    def _begin_request(self) -> bool:
        self._handed_over = None
        if self._upload is not None:
            self.drop_upload()
        self._is_raw = False
        self._rest = None
        return self._recognise(self._unread) or super()._begin_request()

    def _recognise(self, data: bytes) -> bool:
        """Serve the request at the start of ``data``, if its header block was admitted before."""
        forwarding = self._forwarding
        # A client that owns an upstream connection is served on it, by the standard path.
        if not forwarding.is_open or self.owned is not None:
            return False
        known_requests = forwarding.known_requests
        found = known_requests.recognise(data, self._remote, self._head_limits.line)
        if found is None:
            return False
        known, method, target, size, length = found
        if not length:
            self._unread = data[size:]
            self._begin(known, method, target, data[:size])
            return True
        # None is sent before the upstream asks for it.
        content = b"" if known.expects_continue else data[size : size + length]
        rest = length - len(content)
        try:
            inspection = known_requests.inspection(known, target)
            if inspection is not None:
                inspection.check(content, is_last=not rest)
        except GateError:
            return False  # the standard path refuses it
        size += len(content)
        self._unread = data[size:]
        self._is_raw = True
        upload = None
        if rest:
            self._phase = Phase.CONTENT
            self._end = SizedEnd(rest)
            upload = self._new_upload(known, rest, inspection, is_parsed=False)
        self._begin(known, method, target, data[:size], length, content, upload)
        return True

    def _on_request(self, message: RawRequestMessage, content: StreamReader, head: bytes) -> None:
        """A head is complete: serve the request here if the fast path can."""
        if self._is_handing_over:
            return
        if (
            self._upgraded
            or self._close
            or not self._forwarding.is_open
            or self.owned is not None
            or not self._admit(message, content, head if self._is_head_whole else b"")
        ):
            super()._on_request(message, content, head)

    def _admit(self, message: RawRequestMessage, content: StreamReader, head: bytes) -> bool:
        task = self._task_handler
        if task is None or self._request_factory is None:
            return False
        writer = StreamWriter(self, self._loop)
        request: BaseRequest = self._request_factory(message, content, self, writer, task)
        known_requests = self._forwarding.known_requests
        admitted = known_requests.admit(request, self._remote)
        if admitted is None:
            return False
        known, target, length, inspection = admitted
        if head:  # the parser got exactly these bytes
            known_requests.remember(head, admitted)
        self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        upload = None
        if content is not EMPTY_PAYLOAD:
            upload = self._new_upload(known, length, inspection, is_parsed=True)
        method = message.method.encode()
        self._begin(known, method, target, (message, content), length, upload=upload)
        return True

    # --- one exchange

    def _begin(
        self,
        known: KnownRequest,
        method: bytes,
        target: bytes,
        original: Original,
        length: int | None = None,
        content: bytes = b"",
        upload: Upload | None = None,
    ) -> None:
        """Start the exchange.

        ``length``: of the whole content; ``content``: its first part, or all of it without an
        ``upload``.
        """
        forwarding = self._forwarding
        request_id = known.request_id or forwarding.new_request_id()
        self._known = known
        self.head_table = known.head_table
        self._request_method = method
        self._target = target
        self._original = original
        self._request_id = request_id
        self._received = len(content)
        self._sent = 0
        self._started = self._loop.time()
        self.exchange = original
        self._request_in_progress = True
        self._upload = upload
        self._is_counted = False
        self._memory = None
        limits = forwarding.limits
        if forwarding.settings.rate_limit_proxy == "off":
            self._start(known, length, content)
        elif limits.is_local:
            try:
                limits.hit_now("proxy", str(known.access.token_id))
            except GateError as error:
                self._refuse_counted(error)
            else:
                self._is_counted = True
                self._start(known, length, content)
        else:
            forwarding.start_task(self._count(known, length, content, original))

    async def _count(
        self, known: KnownRequest, length: int | None, content: bytes, exchange: object
    ) -> None:
        """Count the request for all nodes, then start it."""
        try:
            await self._forwarding.limits.hit("proxy", str(known.access.token_id))
        except GateError as error:
            if self.exchange is exchange:
                self._refuse_counted(error)
        else:
            if self.exchange is exchange:
                self._is_counted = True
                self._start(known, length, content)
                self._advance()

    def _refuse_counted(self, error: GateError) -> None:
        self._is_counted = True
        self.hand_over(error)

    def _start(self, known: KnownRequest, length: int | None, content: bytes) -> None:
        """Send the request; the arguments are those of :meth:`_begin`."""
        forwarding = self._forwarding
        method, target, request_id = self._request_method, self._target, self._request_id
        traceparent = None
        if forwarding.tracing is not None:
            self._spans = forwarding.spans(forwarding.tracing, known, method, target)
            traceparent = self._spans.traceparent
        if forwarding.has_request_side and forwarding.needs_task(self.for_engine(known)):
            self.hand_over(None)
            return
        if forwarding.has_early and self._respond_early(known):
            return
        if known.pairs is not None:
            request = self.for_engine(known)
            known = known.hooked(request, request_id, forwarding.http.rewriter.request)
            request_id = b""
        self._outgoing = known.head(method, target, request_id, length, traceparent) + content
        if self._upload is not None and not self.register():  # it may last: it ends with the token
            self.hand_over(None)
            return
        self.send_request()

    def send_request(self) -> None:
        """Send the request on a pooled connection, on a new one, or on the standard path."""
        known = self._known
        if known is None:
            return
        connection = self._forwarding.upstream.take(known.access.token_id)
        if connection is not None:
            self._transmit(connection)
        elif not self._forwarding.connect(self, known.access.token_id):
            self.hand_over(None)

    def _respond_early(self, known: KnownRequest) -> bool:
        """Send a plugin's response, if there is one."""
        early = self._forwarding.early(self.for_engine(known))
        if early is None:
            return False
        # Not at once: a client may have pipelined hundreds of such requests.
        self._loop.call_soon(self._send_early, self.exchange, *early)
        return True

    def _send_early(
        self, exchange: object, status: int, mapped: MappedResponse, body: bytes
    ) -> None:
        if self.exchange is not exchange:
            return
        lines = [b"HTTP/1.1 %d \r\n" % status, *(b"%b: %b\r\n" % pair for pair in mapped.headers)]
        has_body = self._request_method != b"HEAD" and status not in (204, 304)
        length = len(body) if status != 204 else None
        self.head(status, lines, length, body if has_body else b"", is_done=True)

    def _transmit(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        is_head = self._request_method == b"HEAD"
        upload = self._upload
        if upload is None:
            connection.send(self, self._outgoing, is_head=is_head)
            return
        connection.send(self, self._outgoing, is_head=is_head, source=upload, length=upload.length)
        if connection.content is not None and self._upload is upload:
            upload.start(connection)

    def use_connection(self, connection: UpstreamConnection) -> None:
        """Send the request on a new connection."""
        self._transmit(connection)
        self._advance()

    def send_again(self) -> None:
        """Send the request once more, on a new connection (RFC 9112, 9.3.1)."""
        self._connection = None
        known, upload = self._known, self._upload
        if self._request_method.decode() not in IDEMPOTENT or (
            upload is not None and upload.received
        ):
            self.hand_over(UpstreamUnreachable())
            return
        if upload is not None:
            upload.restart()
        if known is None or not self._forwarding.connect(self, known.access.token_id):
            self.hand_over(None)

    # --- handover

    def hand_over(self, error: GateError | None) -> None:
        original = self._original
        self._forwarding.handed_over += 1
        self._release()
        self.drop_upload()
        self._known = self.exchange = None
        self._connection = None
        self._original = self._outgoing = b""
        if self._parser is None:  # the client has disconnected
            return
        if isinstance(original, bytes):
            self._parse_original(original, is_sent=self._is_raw and error is not None)
        else:
            message, content = original
            self._messages.append(
                (message._replace(should_close=True), content) if self._close else original
            )
        waiter = self._waiter
        spans, self._spans = self._spans, None
        parsed = self._messages[0][0] if self._messages else None
        if isinstance(parsed, RawRequestMessage):
            self._handed_over = HandedOver(
                parsed,
                error,
                is_counted=self._is_counted,
                span=spans.hand_over(error) if spans is not None else None,
            )
        if waiter is None or waiter.done() or not self._messages:
            self._handed_over = None
            self.force_close()
            return
        self._wake()
        self._loop.call_soon(self._advance)

    def _parse_original(self, original: bytes, *, is_sent: bool) -> None:
        """Let the parser read a recognised request, which it has not got yet.

        ``is_sent``: the content is on its way. Then the parser gets the head without it, and the
        standard path sees a content that it can't read, only wait for.
        """
        size = original.find(b"\r\n\r\n") + 4
        head, content = original[:size], original[size:]
        unread, phase, end = self._unread, self._phase, self._end
        self._unread = without_content(head) if is_sent else head
        self._phase = Phase.START
        self._is_handing_over = True
        super()._begin_request()
        self._read_head()
        self._is_handing_over = False
        if not is_sent:
            self._is_raw = False
            self._unread = content + unread
            return
        self._unread = unread
        if self._messages:
            rest = self._rest = StreamReader(self, HELD, loop=self._loop)
            rest.total_bytes = self._received
            self._phase, self._end = phase, end
            if phase is not Phase.CONTENT:
                rest.feed_eof()
            self._last_content = rest
            self._messages[-1] = self._messages[-1][0], rest

    def check_pending(self, request: BaseRequest) -> None:
        """Raise the error of the fast path for this request, if there is one."""
        if self._handed_over is not None:
            self._handed_over.check(request._message)

    def was_counted(self, request: BaseRequest) -> bool:
        """Whether the rate limit has counted this request."""
        handed_over = self._handed_over
        return handed_over is not None and handed_over.was_counted(request._message)

    def take_span(self, request: BaseRequest) -> ServerSpan | None:
        """Return the span that the fast path has begun for this request, if there is one."""
        handed_over = self._handed_over
        return None if handed_over is None else handed_over.take_span(request._message)

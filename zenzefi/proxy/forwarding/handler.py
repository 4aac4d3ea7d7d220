"""The protocol of a client's connection: aiohttp's request handler, and the entry of requests.

A request that can be admitted at once is served by callbacks, without a task or a ``web.Request``.
All other requests are left to the base class. aiohttp's task awaits their admission, and then has
them served by the same callbacks (:meth:`ForwardingHandler.forward`). A request that fails before
its response has begun gets aiohttp's task as well, for the error response.

Invariants (states: :mod:`zenzefi.proxy.forwarding`):

- ``_known`` is set exactly while a request is served here. During that time aiohttp's task waits
  for a request or for the end of the response (``_awaited``), and writes nothing.
- The original request is kept until its response begins, so that it can be handed over. After that
  a failure can only close the connection.
- An error is taken only by the request that it belongs to (:class:`HandedOver`), and is dropped
  when another request begins or the connection closes.
- A request that ends here is recorded here; a request that has a task, by the middlewares.
- A recognised request never reaches the parser, nor does its content (``_is_raw``): the scanner of
  :mod:`zenzefi.http.framing` alone finds its end. The contents of other requests pass the parser.
- After a response that came before the end of the content, no further request is read.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_request import BaseRequest

from zenzefi.errors import GateError
from zenzefi.http.framing import SizedEnd
from zenzefi.http.observation import SUBJECT
from zenzefi.http.request_stream import HELD, Phase
from zenzefi.observability.tracing import ServerSpan
from zenzefi.proxy.browser.awaited_response import AwaitedResponse
from zenzefi.proxy.browser.upload import Upload
from zenzefi.proxy.forwarding.client_response import ForwardingResponse, Original
from zenzefi.proxy.forwarding.handover import HandedOver
from zenzefi.proxy.forwarding.known_request import KnownRequest, header_lines
from zenzefi.proxy.forwarding.known_requests import without_content
from zenzefi.proxy.forwarding.spans import Spans
from zenzefi.proxy.method_override import ContentInspection
from zenzefi.proxy.proxy_request import ProxyRequest
from zenzefi.proxy.rewriter import Answer, PluginRequest


class ForwardingHandler(ForwardingResponse):
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
            self._drop_upload()
        self._is_raw = False
        self._rest = None
        return self._recognise(self._unread) or super()._begin_request()

    def _recognise(self, data: bytes) -> bool:
        """Serve the request at the start of ``data``, if its header block was admitted before."""
        forwarding = self._forwarding
        if not forwarding.is_open:
            return False
        known_requests = forwarding.known_requests
        found = known_requests.recognise(data, self._remote, self._head_limits.line)
        if found is None:
            return False
        known, method, target, size, length = found
        if forwarding.has_request_side and forwarding.needs_task(known, method, target):
            return False
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
            return False  # a task responds with the refusal
        size += len(content)
        self._unread = data[size:]
        self._is_raw = True
        upload = None
        if rest:
            self._phase = Phase.CONTENT
            self._end = SizedEnd(rest)
            upload = self._upload_of(known, rest, inspection, is_parsed=False)
        self._begin(known, method, target, data[:size], length, content, upload)
        return True

    def _on_request(self, message: RawRequestMessage, content: StreamReader, head: bytes) -> None:
        """A head is complete: serve the request at once if it can be admitted at once."""
        if self._is_handing_over:
            return
        if (
            self._upgraded
            or self._close
            or not self._forwarding.is_open
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
        method = message.method.encode()
        if self._forwarding.needs_task(known, method, target):
            return False
        if head:  # the parser got exactly these bytes
            known_requests.remember(head, admitted)
        self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        upload = None
        if content is not EMPTY_PAYLOAD:
            upload = self._upload_of(known, length, inspection, is_parsed=True)
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
        self._known = known
        self.head_table = known.head_table
        self._request_method = method
        self._target = target
        self._original = original
        self._request_id = known.request_id or forwarding.new_request_id()
        self._received = len(content)
        self._sent = 0
        self._started = self._loop.time()
        self.exchange = original
        self._request_in_progress = True
        self._upload = upload
        self._memory = None
        limits = forwarding.limits
        if forwarding.settings.rate_limit_proxy == "off":
            self._start(known, length, content)
        elif limits.is_local:
            try:
                limits.hit_now("proxy", str(known.access.token_id))
            except GateError as error:
                self.failed(error)
            else:
                self._start(known, length, content)
        else:
            counted = limits.hit("proxy", str(known.access.token_id))
            self._after(counted, partial(self._start, known, length, content))

    def serve_proxied(self, proxied: ProxyRequest, awaited: AwaitedResponse) -> None:
        """Serve a request whose task has admitted it and awaits the response."""
        known = self._forwarding.known_requests.facts(proxied, proxied.for_engine)
        self.serve(known, awaited, proxied.identity.request_id.encode())
        self.head_table = known.head_table
        self._request_method = proxied.request.method.encode()
        self._target = proxied.target.raw.encode()
        self._received = 0
        self._memory = None
        if known.has_content:  # plugins may await it: it ends with the token
            self.register()

    def forward(self, proxied: ProxyRequest, outgoing: PluginRequest) -> None:
        """Send a request that is served."""
        known, read = self._known, outgoing.read
        if known is None:  # the client has disconnected
            return
        known.before = b" HTTP/1.1\r\n" + header_lines(outgoing.headers)
        known.expects_continue = known.expects_continue and not read.has_begun
        declared = proxied.request.content_length
        content = read.data
        length: int | None = len(content)
        if known.has_content and not read.is_whole:
            length = None if read.changes_length else declared
            rest = None if length is None else length - read.size
            self._upload = self._upload_of(known, rest, proxied.inspection, is_parsed=True)
            self._upload.transform = read.transform
            if length is None and content:
                content = b"%x\r\n%b\r\n" % (len(content), content)
        self._start(known, length, content, outgoing.target.raw.encode())
        self.content_wanted()  # some of it may be here

    def _upload_of(
        self,
        known: KnownRequest,
        length: int | None,
        inspection: ContentInspection | None,
        *,
        is_parsed: bool,
    ) -> Upload:
        return self._new_upload(
            length, inspection, expects_continue=known.expects_continue, is_parsed=is_parsed
        )

    def _start(
        self,
        known: KnownRequest,
        length: int | None,
        content: bytes,
        changed: bytes | None = None,
    ) -> None:
        """Send the request; the arguments are those of :meth:`_begin`.

        ``changed``: the target after the hooks of plugins.
        """
        forwarding = self._forwarding
        method, target, request_id = self._request_method, self._target, self._request_id
        spans: Spans | None = None
        if self._awaited is not None:  # the task has the spans, and its head has the request ID
            request_id = b""
        elif forwarding.tracing is not None:
            spans = forwarding.spans(forwarding.tracing, known, method, target)
        self._spans = spans
        if forwarding.has_early and self._awaited is None and self._respond_early(known):
            return
        hooked = None
        if known.pairs is not None:
            rewriter = forwarding.http.rewriter
            hooked = known.hooked(self.for_engine(known), request_id, rewriter.request)
        traceparent = spans.traceparent if spans is not None else None
        target = changed or target
        head = known.head(method, target, request_id, length, traceparent, hooked)
        self._outgoing = head + content
        if self._upload is not None and not self.register():  # it may last: it ends with the token
            self._after_validation(known, self.send_request)
        else:
            self.send_request()

    def _respond_early(self, known: KnownRequest) -> bool:
        """Send a plugin's response, if there is one."""
        early = self._forwarding.early(self.for_engine(known))
        if early is None:
            return False
        # Not at once: a client may have pipelined hundreds of such requests.
        self._loop.call_soon(self._send_early, self.exchange, early)
        return True

    def _send_early(self, exchange: object, answer: Answer) -> None:
        if self.exchange is exchange:
            self.send_answer(answer)

    # --- handover

    def hand_over(self, error: GateError) -> None:
        known, original = self._known, self._original
        self._forwarding.handed_over += 1
        self._drop_request()
        self._release()
        self._known = self.exchange = None
        self._connection = None
        if self._parser is None or known is None:  # the client has disconnected
            return
        if isinstance(original, bytes):
            self._parse_original(original)
        else:
            message, content = original
            self._messages.append(
                (message._replace(should_close=True), content) if self._close else original
            )
        waiter = self._waiter
        spans, self._spans = self._spans, None
        parsed = self._messages[0][0] if self._messages else None
        if waiter is None or waiter.done() or not isinstance(parsed, RawRequestMessage):
            self.force_close()
            return
        subject = (known.access.user_id, known.access.token_id)
        span = spans.hand_over(error) if spans is not None else None
        self._handed_over = HandedOver(parsed, error, subject, span)
        self._wake()
        self._loop.call_soon(self._advance)

    def _parse_original(self, original: bytes) -> None:
        """Let the parser read a recognised request, which it has not got yet.

        It gets the head without the content, which is on its way: aiohttp can only wait for it.
        """
        size = original.find(b"\r\n\r\n") + 4
        unread, phase, end = self._unread, self._phase, self._end
        self._unread = without_content(original[:size]) if self._is_raw else original[:size]
        self._phase = Phase.START
        self._is_handing_over = True
        super()._begin_request()
        self._read_head()
        self._is_handing_over = False
        self._unread = unread
        if self._is_raw and self._messages:
            rest = self._rest = StreamReader(self, HELD, loop=self._loop)
            rest.total_bytes = self._received
            self._phase, self._end = phase, end
            if phase is not Phase.CONTENT:
                rest.feed_eof()
            self._last_content = rest
            self._messages[-1] = self._messages[-1][0], rest

    def check_pending(self, request: BaseRequest) -> None:
        """Raise the error of the callbacks for this request, if there is one."""
        handed_over = self._handed_over
        found = handed_over.take(request._message) if handed_over is not None else None
        if found is not None:
            error, request[SUBJECT] = found
            raise error

    def take_span(self, request: BaseRequest) -> ServerSpan | None:
        """Return the span that the callbacks have begun for this request, if there is one."""
        handed_over = self._handed_over
        return None if handed_over is None else handed_over.take_span(request._message)

"""The protocol of a client's connection: aiohttp's request handler behind the fast path.

A complete request that the fast path can serve is served by callbacks, without a task or a
``web.Request``. All other requests are left to the base class, and so are requests that fail before
their responses have begun.

Invariants (states: :mod:`zenzefi.proxy.fast_path`):

- ``_known`` is set exactly while the fast path serves a request (WAITING or STREAMING). During that
  time aiohttp's task waits for a request and writes nothing.
- The original request is kept while it WAITs, so it can be handed over. In STREAMING a failure can
  only close the connection.
- An error is taken only by the request that it belongs to (:class:`PendingError`), and is dropped
  when another request begins or the connection closes.
- A request that ends here is recorded here; a request that was handed over, by the standard path.
"""

from __future__ import annotations

import asyncio

from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_request import BaseRequest

from zenzefi.errors import GateError
from zenzefi.proxy.fast_path.client_response import FastPathResponse, Original
from zenzefi.proxy.fast_path.known_requests import LINE, KnownRequest
from zenzefi.proxy.upstream.connection import UpstreamConnection

_METHODS = (b"GET ", b"HEAD ")


class FastPathHandler(FastPathResponse):
    """One connection from a client."""

    __slots__ = ()

    # --- the client's requests

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        address = transport.get_extra_info("peername")
        self._remote = str(address[0]) if isinstance(address, tuple) else ""

    @property
    def _is_idle(self) -> bool:
        return self._known is None and super()._is_idle

    def _begin_request(self) -> bool:
        self._pending.drop()
        return self._recognise(self._unread) or super()._begin_request()

    def _recognise(self, data: bytes) -> bool:
        """Serve a request whose header block was admitted before, if ``data`` is exactly one."""
        fast_path = self._fast_path
        # A client that owns an upstream connection is served on it, by the standard path.
        if not fast_path.is_open or self.owned is not None or not data.startswith(_METHODS):
            return False
        end = data.find(b"\r\n")
        known = fast_path.known_requests.find(data[end + 2 :], self._remote)
        line = LINE.fullmatch(data, 0, end) if known is not None else None
        if known is None or line is None or end > self._head_limits.line:
            return False
        target = fast_path.known_requests.target(known, line[2])
        if target is None:
            return False
        self._unread = b""
        self._begin(known, line[1], target, data)
        return True

    def _on_request(self, message: RawRequestMessage, content: StreamReader, head: bytes) -> None:
        """A head is complete: serve the request here if the fast path can."""
        if (
            content is not EMPTY_PAYLOAD
            or self._upgraded
            or self._close
            or not self._fast_path.is_open
            or self.owned is not None
            or not self._admit(message, content, head if self._is_head_whole else b"")
        ):
            super()._on_request(message, content, head)

    def _admit(self, message: RawRequestMessage, payload: StreamReader, data: bytes) -> bool:
        task = self._task_handler
        if task is None or self._request_factory is None:
            return False
        writer = StreamWriter(self, self._loop)
        request: BaseRequest = self._request_factory(message, payload, self, writer, task)
        known_requests = self._fast_path.known_requests
        admitted = known_requests.admit(request, self._remote)
        if admitted is None:
            return False
        known, target = admitted
        end = data.find(b"\r\n")
        # Stored only if the parser got exactly these bytes.
        if end > 0 and LINE.fullmatch(data, 0, end):
            known_requests.remember(data[end + 2 :], known)
        self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        self._begin(known, message.method.encode(), target, (message, payload))
        return True

    # --- one exchange

    def _begin(self, known: KnownRequest, method: bytes, target: bytes, original: Original) -> None:
        fast_path = self._fast_path
        request_id = known.request_id or fast_path.new_request_id()
        self._known = known
        self.head_table = known.head_table
        self._request_method = method
        self._target = target
        self._original = original
        self._request_id = request_id
        self._sent = 0
        self._started = self._loop.time()
        self.exchange = original
        self._request_in_progress = True
        request = self._outgoing = known.request(method, target, request_id)
        connection = fast_path.take(known.access.token_id)
        if connection is not None:
            self._connection = connection
            connection.send(self, request, is_head=method == b"HEAD")
        elif not fast_path.connect(self, known.access.token_id):
            self.hand_over(None)

    def use_connection(self, connection: UpstreamConnection) -> None:
        """Send the request on a new connection."""
        self._connection = connection
        connection.send(self, self._outgoing, is_head=self._request_method == b"HEAD")

    def send_again(self) -> None:
        """Send the request once more, on a new connection (RFC 9112, 9.3.1)."""
        self._connection = None
        known = self._known
        if known is None or not self._fast_path.connect(self, known.access.token_id):
            self.hand_over(None)

    # --- handover

    def hand_over(self, error: GateError | None) -> None:
        original = self._original
        self._fast_path.handed_over += 1
        self._unregister()
        self._known = self.exchange = None
        self._connection = None
        self._original = self._outgoing = b""
        if self._parser is None:  # the client has disconnected
            return
        if isinstance(original, bytes):
            # The parser has not got these bytes yet. It expects the start of a request.
            self._feed(original)
        else:
            self._messages.append(original)
        waiter = self._waiter
        if error is not None and self._messages:
            self._pending.put(self._messages[0][0], error)
        if waiter is None or waiter.done() or not self._messages:
            self._pending.drop()
            self.force_close()
            return
        self._wake()

    def check_pending(self, request: BaseRequest) -> None:
        """Raise the error of the fast path for this request, if there is one."""
        self._pending.check(request._message)

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
        self._pending.drop()
        super().connection_lost(exc)

    def close(self) -> None:
        """Close the connection after the request that the fast path is serving, if any."""
        if self._known is None:
            super().close()
        else:
            self._close = True

    def _process_keepalive(self) -> None:
        if self._known is None:
            super()._process_keepalive()
        else:
            self._keepalive_handle = self._loop.call_later(
                self._keepalive_timeout, self._process_keepalive
            )

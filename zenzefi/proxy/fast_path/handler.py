"""What speaks HTTP on a browser's connection: aiohttp's handler with the fast path in front of it.

Bytes that make one complete, usual request are served by callbacks, without a task and without a
``web.Request``. Everything else goes through aiohttp's own ``RequestHandler``; a request that turns
out to be unusual on the way is handed over to it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_request import BaseRequest

from zenzefi.errors import GateError
from zenzefi.http.request_handler import GateRequestHandler
from zenzefi.proxy.fast_path.connection import FastPathConnection
from zenzefi.proxy.fast_path.handover import BUFFER, HandedOver, PendingHandover
from zenzefi.proxy.fast_path.head_table import HeadTable
from zenzefi.proxy.fast_path.known_requests import LINE, KnownRequest
from zenzefi.proxy.fast_path.response_writer import LAST_CHUNK, write_chunk, write_start
from zenzefi.proxy.upstream.ownership import ConnectionOwner

if TYPE_CHECKING:
    from zenzefi.proxy.fast_path import FastPath

_METHODS = (b"GET ", b"HEAD ")
_Kept = bytes | tuple[RawRequestMessage, StreamReader]


class FastPathHandler(GateRequestHandler):
    """One connection of a browser."""

    __slots__ = (
        "_connection",
        "_hold",
        "_is_chunked",
        "_is_closing_after",
        "_is_to_splice",
        "_kept",
        "_known",
        "_outgoing",
        "_path",
        "_pending",
        "_remote",
        "_request_id",
        "_sent",
        "_started",
        "_status",
        "_target",
        "_verb",
        "exchange",
        "rows",
    )

    rows: HeadTable

    def __init__(self, server: Any, *, fast_path: FastPath, **options: Any) -> None:
        super().__init__(server, **options)
        self._path = fast_path
        self._remote = ""
        self._known: KnownRequest | None = None  # set while the fast path serves a request
        self._connection: FastPathConnection | None = None
        self._kept: _Kept = b""  # that request, for handing over
        self._outgoing = b""  # the same as it goes to the upstream
        self._verb = b""
        self._target = b""
        self._request_id = b""
        self._is_closing_after = False
        self._is_chunked = False
        self._is_to_splice = False
        self._status = 0
        self._sent = 0
        self._started = 0.0
        self._hold: Any = None
        self._pending: PendingHandover | None = None
        self.exchange: object = None
        """Another one for each request in the fast_path, ``None`` between them."""

    # --- the browser's requests

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A browser has connected."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self._remote = str(peer[0]) if isinstance(peer, tuple) else ""

    @property
    def _is_idle(self) -> bool:
        return self._known is None and super()._is_idle

    def _begin_request(self) -> bool:
        if self._pending is not None:
            self._drop_pending()
        return self._recognise(self._unread) or super()._begin_request()

    def _recognise(self, data: bytes) -> bool:
        """Serve a request whose header block was admitted before; it is all that is here."""
        fast_path = self._path
        # The standard path knows which connection a client of its own connection is served by.
        if not fast_path.is_open or self.owned is not None or not data.startswith(_METHODS):
            return False
        end = data.find(b"\r\n")
        known = fast_path.known_requests.known(data[end + 2 :], self._remote)
        line = LINE.fullmatch(data, 0, end) if known is not None else None
        if known is None or line is None:
            return False
        target = fast_path.known_requests.target(known, line[2])
        if target is None:
            return False
        self._unread = b""
        self._begin(known, line[1], target, data)
        return True

    def _on_request(self, message: RawRequestMessage, content: StreamReader, head: bytes) -> None:
        """A head is complete: serve it here if it is usual."""
        if (
            content is not EMPTY_PAYLOAD
            or self._upgraded
            or self._close
            or not self._path.is_open
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
        known_requests = self._path.known_requests
        admitted = known_requests.admit(request, self._remote)
        if admitted is None:
            return False
        known, target = admitted
        end = data.find(b"\r\n")
        # Kept only if these very bytes were the one message that the parser saw.
        if end > 0 and LINE.fullmatch(data, 0, end):
            known_requests.remember(data[end + 2 :], known)
        self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        self._begin(known, message.method.encode(), target, (message, payload))
        return True

    # --- one exchange

    def _begin(self, known: KnownRequest, method: bytes, target: bytes, kept: _Kept) -> None:
        fast_path = self._path
        request_id = known.request_id or fast_path.fresh_id()
        self._known = known
        self.rows = known.rows
        self._verb = method
        self._target = target
        self._kept = kept
        self._request_id = request_id
        self._sent = 0
        self._started = self._loop.time()
        self.exchange = kept
        self._request_in_progress = True
        request = self._outgoing = known.request(method, target, request_id)
        connection = fast_path.take(known.access.token_id)
        if connection is not None:
            self._connection = connection
            connection.send(self, request, is_head=method == b"HEAD")
        elif not fast_path.connect(self, known.access.token_id):
            self.hand_over(None)

    def go_on(self, connection: FastPathConnection) -> None:
        """A fresh connection for the request."""
        self._connection = connection
        connection.send(self, self._outgoing, is_head=self._verb == b"HEAD")

    def send_again(self) -> None:
        """The pooled connection was dead: once more on a fresh one (RFC 9112, 9.3.1)."""
        self._connection = None
        known = self._known
        if known is None or not self._path.connect(self, known.access.token_id):
            self.hand_over(None)

    def owner(self) -> ConnectionOwner | None:
        known = self._known
        if known is None or known.is_behind_proxy or self.is_lost:
            return None
        return ConnectionOwner(self, known.access.token_id, known.identity)

    def hold(self) -> bool:
        known = self._known
        if known is None:
            return False
        token_validator = self._path.token_validator
        identity = known.identity
        hold = token_validator.register(known.access, self._token_ended, identity)
        hold.__enter__()
        if token_validator.cached(known.token) is None or token_validator.is_signed_out(identity):
            hold.__exit__(None, None, None)
            return False
        self._hold = hold
        return True

    def head(
        self, status: int, lines: list[bytes], length: int | None, first: bytes, *, is_done: bool
    ) -> None:
        known, transport = self._known, self.transport
        if known is None or transport is None:
            return
        self._status = status
        self._sent = len(first)
        self._is_chunked = length == -1
        self._is_closing_after = is_last = not known.keep_alive or self._path.drain.is_draining
        write_start(
            transport, lines, self._request_id, length, first, is_last=is_last, is_done=is_done
        )
        if is_done:
            self._connection = None
            self._finish()
            return
        self._kept = self._outgoing = b""
        connection = self._connection
        if connection is not None and connection.may_splice(transport):
            # First what is written already: resume_writing() tells when that has left.
            connection.pause()
            self._is_to_splice = True
            transport.set_write_buffer_limits(high=0)
            if not transport.get_write_buffer_size():
                self._begin_splice(connection, transport)
        else:
            transport.set_write_buffer_limits(high=BUFFER)

    def _begin_splice(self, connection: FastPathConnection, transport: asyncio.Transport) -> None:
        self._is_to_splice = False
        transport.set_write_buffer_limits(high=BUFFER)
        connection.splice_to(transport)

    def moved(self, count: int) -> None:
        """So many bytes have gone past this program."""
        self._sent += count

    def piece(self, data: bytes) -> None:
        """The next bytes of the body."""
        transport = self.transport
        if transport is None:
            return
        self._sent += len(data)
        if self._is_chunked:
            write_chunk(transport, data)
        else:
            transport.write(data)

    def end(self) -> None:
        """The body is complete."""
        self._connection = None
        if self._is_chunked and self.transport is not None:
            self.transport.write(LAST_CHUNK)
        self._finish()

    def broken(self, error: GateError) -> None:
        """The body broke off: never ended cleanly, so that the browser sees it.

        It has a length or chunks, so the missing end says so, and what has come is delivered.
        """
        self._path.log_broken(error)
        self._connection = None
        self._done()
        self.force_close()

    def _token_ended(self, _reason: str) -> None:
        self._abort()

    def _abort(self) -> None:
        transport = self.transport
        self._done()
        if transport is not None:
            transport.abort()

    def _finish(self) -> None:
        """The answer has left whole: on to the next request."""
        self._done()
        if self._is_closing_after or self._close or self._force_close:
            self.force_close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._unread:
            self._advance()

    def _done(self) -> None:
        known, self._known = self._known, None
        self.exchange = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
        if self._hold is not None:
            self._hold.__exit__(None, None, None)
            self._hold = None
        self._kept = self._outgoing = b""
        self._is_to_splice = False
        self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        if known is not None:
            self._path.note(
                known,
                self._verb,
                self._target,
                self._request_id,
                self._status,
                self._sent,
                self._loop.time() - self._started,
            )

    # --- handing over

    def hand_over(self, begun: HandedOver | GateError | None) -> None:
        """Let the standard path do the rest; ``None`` lets it begin anew."""
        kept = self._kept
        self._path.handed_over += 1
        self._known = self.exchange = None
        self._connection = None
        self._kept = self._outgoing = b""
        if self._parser is None:  # the browser is gone
            if isinstance(begun, HandedOver):
                begun.drop()
            return
        if isinstance(kept, bytes):
            # The parser has not seen these bytes yet; it stands at the start of a request.
            self._feed(kept)
        else:
            self._messages.append(kept)
        waiter = self._waiter
        if begun is not None and self._messages:
            self._pending = PendingHandover(self._messages[0][0], begun)
        if waiter is None or waiter.done() or not self._messages:
            self._drop_pending()
            self.force_close()
            return
        self._wake()

    def take_started_response(self, request: BaseRequest) -> HandedOver | None:
        """The answer that the fast path has begun for this very request, if any.

        Raises what went wrong on the way, if something did.
        """
        pending = self._pending
        if pending is None or pending.message is not request._message:
            return None
        self._pending = None
        return pending.response()

    def _drop_pending(self) -> None:
        """Nobody has asked for it: the standard path has refused the request."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.drop()

    # --- the connection

    def pause_writing(self) -> None:
        """The browser is slower than the upstream."""
        super().pause_writing()
        if self._connection is not None:
            self._connection.pause()

    def resume_writing(self) -> None:
        """The browser has caught up."""
        super().resume_writing()
        connection = self._connection
        if connection is None:
            return
        if self._is_to_splice and self.transport is not None:
            self._begin_splice(connection, self.transport)
        else:
            connection.resume()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The browser has gone."""
        if self._known is not None:
            self._status = self._status or 499
            self._done()
        self._drop_pending()
        super().connection_lost(exc)

    def close(self) -> None:
        """Take no more requests; the one in the fast_path is finished first."""
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

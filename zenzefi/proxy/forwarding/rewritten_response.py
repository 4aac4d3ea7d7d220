"""A body on its way through the engine to the client.

Theory of operation
-------------------

::

    connection --piece--> waiting --turn--> engine --head, piece, end--> client

- A turn is a callback of at most :data:`_STEPS` steps of the engine; none begins after
  :data:`_TURN` seconds. The first turn runs at once, the following ones between other callbacks of
  the loop.
- The end of a body whose plugin needs the whole document is made in a thread.
- The engine rests while the client reads more slowly. Reading from the upstream pauses while more
  than ``BUFFER`` bytes wait for the engine.
- Output that the engine withholds until it knows the type or the encoding leaves after
  :data:`_LONGEST_WITHHELD` seconds without input.
- Until the first output nothing is sent, so that an error can still become a response.
- The body ends with its token, as the client is registered.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from zenzefi.errors import GateError
from zenzefi.http.request_handler import STALL_SECONDS
from zenzefi.proxy.browser.body_source import BodySource
from zenzefi.proxy.errors import UpstreamTimeout
from zenzefi.proxy.rewriter import BodyTransform
from zenzefi.proxy.upstream.body_flow import BUFFER
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.sinks import BodySink, ResponseStart

log = logging.getLogger(__name__)

SLICE = 16 * 1024  # bytes of the body that the engine gets at once
_TURN = 0.002  # seconds
_STEPS = 3
_LONGEST_WITHHELD = 0.05  # seconds


class RewritingClient(BodySink, Protocol):
    """The client's connection, as a mapped response needs it."""

    def head(
        self, status: int, lines: list[bytes], length: int | None, first: bytes, *, is_done: bool
    ) -> None:
        """Write the head of the response, and the part of the body that came with it.

        ``lines``: the status line and the header lines for the client, without the framing;
        ``length``: the Content-Length in bytes, -1 for a chunked body, ``None`` for neither;
        ``first``: the first bytes of the body; ``is_done``: they are the whole body.
        """

    def receive_from(self, source: BodySource | None) -> None:
        """Pause and end ``source`` with the client from now on."""

    def failed(self, error: GateError) -> None:
        """No response follows."""


class RewrittenBody:
    """One body on its way through the engine: a ``BodySink`` and a ``BodySource``."""

    __slots__ = (
        "_client",
        "_connection",
        "_error",
        "_finishing",
        "_handle",
        "_is_begun",
        "_is_complete",
        "_is_over",
        "_is_paused",
        "_late",
        "_lines",
        "_loop",
        "_rewrite",
        "_size",
        "_stall",
        "_status",
        "_steps",
        "_waiting",
    )

    def __init__(
        self, client: RewritingClient, status: int, lines: list[bytes], rewrite: BodyTransform
    ) -> None:
        self._client = client
        self._status = status
        self._lines = lines
        self._rewrite = rewrite
        self._loop = asyncio.get_running_loop()
        self._connection: UpstreamConnection | None = None
        self._waiting: deque[bytes] = deque()
        self._size = 0  # bytes that wait
        self._steps: Iterator[bytes] | None = None  # of the slice that the engine works on
        self._handle: asyncio.Handle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._late: asyncio.TimerHandle | None = None
        self._finishing: asyncio.Future[bytes] | None = None  # the thread's result, if it is heavy
        self._error: GateError | None = None
        self._is_complete = False  # all of the body has been received
        self._is_begun = False  # the head was sent
        self._is_over = False
        self._is_paused = False

    def begin(self, connection: UpstreamConnection | None, response: ResponseStart) -> None:
        """Begin with the bytes that came with the head; the rest comes from ``connection``."""
        self._connection = connection
        self._take(response.first)
        self._is_complete = response.is_done
        self._run()

    # --- from the upstream

    def piece(self, data: bytes) -> None:
        """Receive the next bytes of the body."""
        self._take(data)
        self._run()

    def _take(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE):
            self._waiting.append(data[start : start + SLICE])
        self._size += len(data)
        if self._size > BUFFER and self._connection is not None:
            self._connection.pause()

    def moved(self, count: int) -> None:
        """Not called: a rewritten body is never spliced."""

    def end(self) -> None:
        """The body is complete, and the connection was released."""
        self._connection = None
        self._is_complete = True
        self._run()

    def broken(self, error: GateError) -> None:
        """The body is truncated or malformed: what came before is delivered."""
        self._connection = None
        self._error = error
        self._run()

    # --- from the client

    def pause(self) -> None:
        """The client reads more slowly."""
        if not self._is_paused:
            self._is_paused = True
            self._stall = self._loop.call_later(STALL_SECONDS, self._fail, UpstreamTimeout())

    def resume(self) -> None:
        """The client has read enough."""
        if self._is_paused:
            self._is_paused = False
            if self._stall is not None:
                self._stall.cancel()
            if not self._is_over:
                self._run()

    def abandon(self) -> None:
        """The client or its token is gone: stop."""
        self._is_over = True
        if self._handle is not None:
            self._handle.cancel()
        for timer in (self._stall, self._late):
            if timer is not None:
                timer.cancel()
        self._waiting.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()

    def may_splice(self, sink: asyncio.Transport) -> bool:
        """Never: the bytes are needed here."""
        return False

    def splice_to(self, sink: asyncio.Transport) -> None:
        """Not called."""

    # --- the work

    def _run(self) -> None:
        """Work now, unless a turn is planned or the client is slower."""
        if self._handle is None and self._finishing is None and not self._is_paused:
            self._turn()

    def _turn(self) -> None:
        self._handle = None
        if self._is_over or self._is_paused:
            return
        if self._late is not None:
            self._late.cancel()
            self._late = None
        made: list[bytes] = []
        error: GateError | None = None
        is_last = False
        try:
            is_last = self._work(made)
        except GateError as known:
            error = known
        except Exception:
            log.exception("rewriting a response failed")
            error = GateError()
        self._send(made, is_last=is_last)
        if error is not None:
            self._fail(error)
        if is_last or error is not None or self._finishing is not None:
            return
        if self._steps is not None or self._is_complete or self._error is not None:
            self._handle = self._loop.call_soon(self._turn)
            return
        if self._connection is not None:
            self._connection.resume()
        if self._rewrite.withholds:
            self._late = self._loop.call_later(_LONGEST_WITHHELD, self._release)

    def _release(self) -> None:
        """No input for a while: send what is withheld."""
        self._late = None
        if self._is_over:
            return
        try:
            self._send([self._rewrite.release()], is_last=False)
        except GateError as error:
            self._fail(error)

    def _work(self, made: list[bytes]) -> bool:
        """Let the engine work for one turn: add to its output; whether it is complete.

        Raises :class:`GateError` for a broken body, after the output of its bytes.
        """
        until = self._loop.time() + _TURN
        steps = 0
        while self._steps is not None or self._waiting:
            if self._steps is None:
                data = self._waiting.popleft()
                self._size -= len(data)
                self._steps = self._rewrite.slices(data)
            for piece in self._steps:
                if piece:
                    made.append(piece)
                steps += 1
                if steps == _STEPS or self._loop.time() > until:
                    return False
            self._steps = None
        if self._error is not None:
            raise self._error
        if not self._is_complete:
            return False
        if self._rewrite.heavy:
            self._finishing = self._loop.run_in_executor(None, self._rewrite.finish)
            self._finishing.add_done_callback(self._finished)
            return False
        if rest := self._rewrite.finish():
            made.append(rest)
        return True

    def _finished(self, finishing: asyncio.Future[bytes]) -> None:
        """A thread has made the end of the body."""
        if finishing.cancelled():
            return
        error = finishing.exception()
        if self._is_over:
            return
        if error is None:
            self._send([finishing.result()], is_last=True)
        elif isinstance(error, GateError):
            self._fail(error)
        else:
            log.error("rewriting a response failed", exc_info=error)
            self._fail(GateError())

    def _send(self, made: list[bytes], *, is_last: bool) -> None:
        out = made[0] if len(made) == 1 else b"".join(made)
        client = self._client
        if self._connection is not None and self._size <= BUFFER // 2:
            self._connection.resume()
        if is_last:
            self._is_over = True
            if self._stall is not None:
                self._stall.cancel()
        if self._is_begun:
            if out:
                client.piece(out)
            if is_last:
                client.end()
        elif out or is_last:
            self._is_begun = True
            client.head(self._status, self._lines, -1, out, is_done=is_last)

    def _fail(self, error: GateError) -> None:
        self.abandon()
        if self._is_begun:
            self._client.broken(error)
        else:
            self._client.failed(error)

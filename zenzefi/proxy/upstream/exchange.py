"""One request and its response on a connection to the upstream, as coroutines see it.

:class:`UpstreamExchange` is a thin view of :class:`UpstreamConnection`: the connection calls it,
and it wakes the coroutine that waits. It serves requests from their beginning
(:meth:`UpstreamExchange.start`), and responses that a client without coroutines has begun and does
not finish (:meth:`UpstreamExchange.begin`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from zenzefi.errors import GateError
from zenzefi.proxy.errors import UpstreamUnreachable
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.upstream.body_flow import BUFFER
from zenzefi.proxy.upstream.ownership import ConnectionOwner
from zenzefi.proxy.upstream.request_content import CONTINUE_SECONDS
from zenzefi.proxy.upstream.response_head import PlainHead, PlainHeadReader
from zenzefi.proxy.upstream.sinks import ResponseStart
from zenzefi.proxy.upstream.slots import Slot

if TYPE_CHECKING:
    from zenzefi.proxy.upstream.connection import UpstreamConnection

_MAX_SKIPPED = 1024 * 1024  # bytes of an unwanted body that are read to keep its connection
_PLAIN_HEADS = PlainHeadReader()


class BodyBroken(Exception):
    """The body of a response is truncated or malformed; ``error`` is the error for the client."""

    def __init__(self, error: GateError) -> None:
        self.error = error
        super().__init__(error.code)


class Upgraded(NamedTuple):
    """A transport after its 101."""

    transport: asyncio.Transport | None
    """``None`` if the connection is lost."""
    tail: bytes
    """The bytes behind the head of the 101."""
    slot: Slot


class RequestBody(Protocol):
    """The content of a request on its way to the upstream."""

    length: int | None
    """Bytes, or ``None`` if it is chunked."""

    expects_continue: bool

    async def read(self) -> bytes:
        """The next piece, ``b""`` at the end; raises a :class:`GateError` if it is truncated."""

    def invite(self) -> None:
        """Send 100 Continue to the client."""


class UpstreamResponse(Protocol):
    """A response whose head has been received and whose body is streamed.

    The caller closes it once (:meth:`close`), also after an error.
    """

    status: int
    reason: bytes
    headers: Pairs
    length: int | None
    """The declared Content-Length, ``None`` without one (or with chunks)."""

    has_body: bool
    may_pass_unchanged: bool
    """Whether it is not known yet that the body must be rewritten, or can't be held to find out."""
    closes_client: bool
    """Whether the client's connection must end with this response, as the upstream's does."""

    def read_ready(self) -> bytes:
        """The received part of the body, without waiting."""

    @property
    def is_complete(self) -> bool:
        """Whether the whole body has been received and read."""

    @property
    def failure(self) -> GateError | None:
        """The error of a broken body of which no byte is left to read."""

    async def read(self) -> bytes:
        """The next piece of the body, ``b""`` at its end; raises :class:`BodyBroken`."""

    async def close(self) -> None:
        """Release the connection if the exchange is complete, else close it."""


class UpstreamExchange:
    """One request and its response on one connection; an :class:`UpstreamResponse` once begun.

    ``owner`` returns the client that an authenticated connection belongs to from now on.
    """

    head_table = _PLAIN_HEADS

    def __init__(self, owner: Callable[[], ConnectionOwner | None]) -> None:
        self.owner = owner
        self.status = 0
        self.reason = b""
        self.headers: Pairs = []
        self.length: int | None = None
        self.has_body = False
        self.may_pass_unchanged = True
        self.closes_client = False
        self.has_read_content = False
        """Whether content of the request was read from the client, which can't be repeated."""
        self.may_send_again = False
        """Whether a reused connection was closed before the first byte of a response."""
        self._on_interim: Callable[[int, Pairs], None] | None = None
        self._connection: UpstreamConnection | None = None  # until the end of the exchange
        self._begun: asyncio.Future[None] | None = None  # while start() waits
        self._upload: asyncio.Task[None] | None = None
        self._invited = asyncio.Event()  # also set when there is no need to wait for a 100
        self._writable = asyncio.Event()
        self._pieces: deque[bytes] = deque()
        self._waiting = 0  # bytes in them
        self._error: GateError | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def start(
        self,
        connection: UpstreamConnection,
        method: str,
        head: bytes,
        body: RequestBody | None = None,
        on_interim: Callable[[int, Pairs], None] | None = None,
        *,
        may_upgrade: bool = False,
    ) -> None:
        """Send the request and wait for the head of the response.

        Raises :class:`GateError`, also that of ``body.read``.
        """
        self._on_interim = on_interim
        self._connection = connection
        self._begun = begun = asyncio.get_running_loop().create_future()
        connection.send(
            self,
            head,
            is_head=method == "HEAD",
            source=self if body is not None else None,
            length=body.length if body is not None else None,
            may_upgrade=may_upgrade,
        )
        content = connection.content
        if body is not None and content is not None:
            self._writable.set()
            self._upload = asyncio.create_task(self._send(body), name="upstream upload")
            self._upload.add_done_callback(self._upload_done)
        try:
            await begun
        finally:
            self._begun = None

    # --- the content of the request

    async def _send(self, body: RequestBody) -> None:
        """Read the content from the client and write it to the connection, piece by piece."""
        if body.expects_continue:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CONTINUE_SECONDS):
                    await self._invited.wait()
            if self.status:
                return  # the final response came instead of an invitation
            body.invite()
        while (connection := self._connection) is not None and connection.content is not None:
            content = connection.content
            if content.is_complete:
                return
            piece = await body.read()
            self.has_read_content = True
            if not piece:
                content.end()
                return
            content.write(piece)
            await self._writable.wait()

    def _upload_done(self, upload: asyncio.Task[None]) -> None:
        error = None if upload.cancelled() else upload.exception()
        if error is not None:
            self._raise(error)

    def _raise(self, error: BaseException) -> None:
        """Raise an error of the client's side where start() waits, and end the exchange."""
        begun = self._begun
        if begun is not None and not begun.done():
            begun.set_exception(error)
        self.abort()  # a response that has begun can't be replaced by an error

    def pause(self) -> None:
        """The upstream reads the content more slowly."""
        self._writable.clear()

    def resume(self) -> None:
        """The upstream reads the content again."""
        self._writable.set()

    def invite(self) -> None:
        """The upstream has sent 100 Continue."""
        self._invited.set()

    # --- the connection's side

    def interim(self, status: int, headers: Pairs) -> None:
        """Receive a 1xx response."""
        try:
            if self._on_interim is not None:
                self._on_interim(status, headers)
        except Exception as error:
            self._raise(error)

    def begin(self, connection: UpstreamConnection, response: ResponseStart) -> None:
        """See :class:`~zenzefi.proxy.upstream.sinks.ResponseSink`."""
        head = response.plain()
        connection.settle(head.headers, self.owner)
        self.closes_client = not head.may_reuse and connection.owner is not None
        self._fill(head, response.first, has_body=response.has_body)
        if response.is_done:
            self._end_connection()
            connection.release()
        else:
            self._connection = connection
            if head.status != 101:
                connection.deliver_to(self)
        self._wake()

    def _fill(self, head: PlainHead, first: bytes, *, has_body: bool) -> None:
        self.status = head.status
        self.reason = head.reason
        self.headers = head.headers
        self.length = head.length if head.length >= 0 else None
        self.has_body = has_body
        self._invited.set()
        if first:
            self._pieces.append(first)
            self._waiting = len(first)

    def piece(self, data: bytes) -> None:
        """Receive the next bytes of the body."""
        self._pieces.append(data)
        self._waiting += len(data)
        if self._waiting > BUFFER and self._connection is not None:
            self._connection.pause()
        self._wake()

    def moved(self, count: int) -> None:
        """Not called: such a response is never spliced."""

    def end(self) -> None:
        """The body is complete."""
        self._end_connection()
        self._wake()

    def broken(self, error: GateError) -> None:
        """The body is truncated or malformed."""
        self._end_connection()
        self._error = error
        self._wake()

    def failed(self, error: GateError) -> None:
        """No response follows."""
        self._end_connection()
        begun = self._begun
        if begun is not None and not begun.done():
            begun.set_exception(error)

    def send_again(self) -> None:
        """The reused connection was closed before the first byte of a response."""
        self.may_send_again = not self.has_read_content
        self.failed(UpstreamUnreachable())

    def _end_connection(self) -> None:
        self._connection = None
        self._writable.set()
        self._invited.set()

    def _wake(self) -> None:
        for waiter in (self._begun, self._waiter):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    # --- the response

    def read_ready(self) -> bytes:
        """The received part of the body, without waiting."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        if self._connection is not None:
            self._connection.resume()
        return data

    @property
    def is_complete(self) -> bool:
        """Whether the whole body has been received and read."""
        return self._connection is None and self._error is None and not self._pieces

    @property
    def failure(self) -> GateError | None:
        """The error of a broken body of which no byte is left to read."""
        return None if self._pieces else self._error

    async def read(self) -> bytes:
        """The next piece of the body, ``b""`` at its end; raises :class:`BodyBroken`."""
        while not self._pieces:
            if self._error is not None:
                raise BodyBroken(self._error)
            if self._connection is None:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = self._pieces.popleft()
        self._waiting -= len(data)
        if self._connection is not None and self._waiting <= BUFFER // 2:
            self._connection.resume()
        return data

    def detach(self) -> Upgraded:
        """Take the transport after a 101."""
        connection, self._connection = self._connection, None
        if connection is None:
            raise RuntimeError("no 101 was received")
        transport, tail = connection.detach()
        return Upgraded(transport, tail, connection.slot)

    def abort(self) -> None:
        """Close the connection at once; a pending :meth:`read` raises :class:`BodyBroken`."""
        connection = self._connection
        if connection is not None:
            self.broken(UpstreamUnreachable())
            connection.abandon()

    async def skip(self) -> None:
        """Close the response unread.

        On a connection that belongs to one client up to 1 MiB of the body is read first, because
        another connection could not replace it.
        """
        if self._connection is not None and self._connection.owner is not None:
            left = _MAX_SKIPPED
            with contextlib.suppress(BodyBroken):
                while left > 0 and (piece := await self.read()):
                    left -= len(piece)
        await self.close()

    def drop(self) -> None:
        """Close the connection if the exchange is incomplete."""
        connection = self._connection
        self._end_connection()
        if connection is not None:
            connection.abandon()

    async def close(self) -> None:
        """Close the connection if the exchange is incomplete, and stop the upload."""
        self.drop()
        upload = self._upload
        if upload is not None and not upload.done():
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)

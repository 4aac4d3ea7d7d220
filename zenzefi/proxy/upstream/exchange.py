"""One request on a connection to the upstream, as the task sees it that sends it.

:class:`UpstreamExchange` is a thin view of :class:`UpstreamConnection`: the connection calls it,
and it wakes the coroutine that waits for the head (:meth:`UpstreamExchange.start`). It writes the
content of the request. The response is parked (:class:`Parked`) until the coroutine delivers it;
from then on callbacks send it, and this object only writes the rest of the content.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from zenzefi.errors import GateError
from zenzefi.proxy.errors import UpstreamUnreachable
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.upstream.ownership import ConnectionOwner
from zenzefi.proxy.upstream.request_content import CONTINUE_SECONDS, RequestContent
from zenzefi.proxy.upstream.response_head import HeadReader, PlainHead, PlainHeadReader
from zenzefi.proxy.upstream.sinks import ResponseStart
from zenzefi.proxy.upstream.slots import Slot

if TYPE_CHECKING:
    from zenzefi.proxy.upstream.connection import UpstreamConnection

_PLAIN_HEADS = PlainHeadReader()


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


class Parked(Protocol):
    """A response that has begun, and waits for its delivery."""

    def deliver(self) -> None:
        """Send it to the client."""

    def abandon(self) -> None:
        """Close its connection, unless it was delivered."""

    async def skip(self) -> None:
        """Close it unread, but keep a connection that can't be replaced."""


class ExchangingClient(Protocol):
    """The client's connection, as an exchange needs it."""

    @property
    def head_table(self) -> HeadReader:
        """Reads the head of the response."""

    def owner(self) -> ConnectionOwner | None:
        """See :class:`~zenzefi.proxy.upstream.sinks.ResponseSink`."""

    def interim(self, status: int, headers: Pairs) -> None:
        """See :class:`~zenzefi.proxy.upstream.sinks.ResponseSink`."""

    def park(self, connection: UpstreamConnection, response: ResponseStart) -> Parked:
        """Park a response that has begun. Raises :class:`GateError` if it is refused."""


class UpstreamExchange:
    """One request and the beginning of its response on one connection."""

    def __init__(self, client: ExchangingClient) -> None:
        self._client = client
        self.head_table = client.head_table
        self.upgrade: PlainHead | None = None
        """The head of a 101."""
        self.parked: Parked | None = None
        """Any other response."""
        self.has_read_content = False
        """Whether content of the request was read from the client, which can't be repeated."""
        self.may_send_again = False
        """Whether a reused connection was closed before the first byte of a response."""
        # Until the response has begun; that of a 101 until :meth:`detach`.
        self._connection: UpstreamConnection | None = None
        self._begun: asyncio.Future[None] | None = None  # while start() waits
        self._upload: asyncio.Task[None] | None = None
        self._invited = asyncio.Event()  # also set when there is no need to wait for a 100
        self._writable = asyncio.Event()

    async def start(
        self,
        connection: UpstreamConnection,
        method: str,
        head: bytes,
        body: RequestBody | None = None,
        *,
        may_upgrade: bool = False,
    ) -> None:
        """Send the request and wait for the head of the response.

        Raises :class:`GateError`, also that of ``body.read``.
        """
        if may_upgrade:
            self.head_table = _PLAIN_HEADS
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
            self._upload = asyncio.create_task(
                self._send(connection, content, body), name="upstream upload"
            )
            self._upload.add_done_callback(partial(self._upload_done, connection, content))
        try:
            await begun
        finally:
            self._begun = None

    # --- the content of the request

    async def _send(
        self, connection: UpstreamConnection, content: RequestContent, body: RequestBody
    ) -> None:
        """Read the content from the client and write it to the connection, piece by piece."""
        if body.expects_continue:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CONTINUE_SECONDS):
                    await self._invited.wait()
            if self.parked is not None:
                return  # the final response came instead of an invitation
            body.invite()
        # The connection has another content, or none, once the exchange has ended.
        while connection.content is content and not content.is_complete:
            piece = await body.read()
            self.has_read_content = True
            if not piece:
                content.end()
                return
            content.write(piece)
            await self._writable.wait()

    def _upload_done(
        self,
        connection: UpstreamConnection,
        content: RequestContent,
        upload: asyncio.Task[None],
    ) -> None:
        """End the exchange if its content can't be completed."""
        error = None if upload.cancelled() else upload.exception()
        if error is None:
            return
        begun = self._begun
        if begun is not None and not begun.done():
            begun.set_exception(error)
        if connection.content is content:
            connection.fail(UpstreamUnreachable())  # breaks off a response that has begun

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

    def owner(self) -> ConnectionOwner | None:
        """See :class:`~zenzefi.proxy.upstream.sinks.ResponseSink`."""
        return self._client.owner()

    def interim(self, status: int, headers: Pairs) -> None:
        """See :class:`~zenzefi.proxy.upstream.sinks.ResponseSink`."""
        self._client.interim(status, headers)

    def begin(self, connection: UpstreamConnection, response: ResponseStart) -> None:
        """See :class:`~zenzefi.proxy.upstream.sinks.ResponseSink`."""
        if response.read.status == 101:
            self.upgrade = response.plain()
        else:
            self.parked = self._client.park(connection, response)
            self._connection = None
        self._invited.set()
        begun = self._begun
        if begun is not None and not begun.done():
            begun.set_result(None)

    def failed(self, error: GateError) -> None:
        """See :class:`~zenzefi.proxy.upstream.sinks.ResponseSink`."""
        self._connection = None
        self._invited.set()
        begun = self._begun
        if begun is not None and not begun.done():
            begun.set_exception(error)

    def send_again(self) -> None:
        """See :class:`~zenzefi.proxy.upstream.sinks.ResponseSink`."""
        self.may_send_again = not self.has_read_content
        self.failed(UpstreamUnreachable())

    # --- the end

    def detach(self) -> Upgraded:
        """Take the transport after a 101."""
        connection, self._connection = self._connection, None
        if connection is None:
            raise RuntimeError("no 101 was received")
        transport, tail = connection.detach()
        return Upgraded(transport, tail, connection.slot)

    async def close(self) -> None:
        """Close the connection if no response was delivered, and stop the upload."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
        if self.parked is not None:
            self.parked.abandon()  # does nothing if it was delivered
        upload = self._upload
        if upload is not None and not upload.done():
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)

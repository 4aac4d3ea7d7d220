"""The interface between a connection to the upstream and the requests that it serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from zenzefi.errors import GateError
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.upstream.ownership import ConnectionOwner
from zenzefi.proxy.upstream.response_head import HeadFacts, HeadReader, PlainHead

if TYPE_CHECKING:
    from zenzefi.proxy.upstream.connection import UpstreamConnection


class BodySink(Protocol):
    """Receives the body of a response: pieces without framing, in order."""

    def piece(self, data: bytes) -> None:
        """Receive the next bytes of the body."""

    def moved(self, count: int) -> None:
        """Count bytes that a splice has moved (:mod:`zenzefi.proxy.upstream.splice`)."""

    def end(self) -> None:
        """The body is complete, and the connection is not used any more."""

    def broken(self, error: GateError) -> None:
        """The body is truncated or malformed, and no more of it follows."""


class ContentSource(Protocol):
    """Sends the content of a request (:meth:`UpstreamConnection.write`)."""

    def pause(self) -> None:
        """The upstream reads more slowly: write no more for now."""

    def resume(self) -> None:
        """Continue to write."""

    def invite(self) -> None:
        """The upstream has sent 100 Continue."""


class ResponseStart(NamedTuple):
    """The head of a final response (or a 101), and the part of the body that came with it."""

    raw: bytes
    """The head with CRLF line ends, up to and including its empty line."""
    read: HeadFacts
    """The result of the client's ``head_table``; a :class:`PlainHead` if the strict parser refuses
    the head."""
    first: bytes
    has_body: bool
    is_done: bool
    """Whether ``first`` is the whole body."""

    def plain(self) -> PlainHead:
        """The head as pairs."""
        return self.read.plain(self.raw)


class ResponseSink(Protocol):
    """The client's side of an exchange."""

    @property
    def head_table(self) -> HeadReader:
        """Reads the head of the response."""

    def begin(self, connection: UpstreamConnection, response: ResponseStart) -> None:
        """A response has begun: choose the receiver of its body.

        The method calls either :meth:`UpstreamConnection.deliver_to`, or, for a response that is
        done, :meth:`UpstreamConnection.release`. A 101 needs neither. Raises :class:`GateError` if
        the response is refused: the connection is closed, and :meth:`failed` follows.
        """

    def interim(self, status: int, headers: Pairs) -> None:
        """Receive a 1xx response other than 100 and 101.

        Raises :class:`GateError` if it is refused: the connection is closed, and :meth:`failed`
        follows.
        """

    def failed(self, error: GateError) -> None:
        """No response follows."""

    def send_again(self) -> None:
        """The pooled connection was closed before the first byte of a response."""

    def owner(self) -> ConnectionOwner | None:
        """Return the owner of a connection that must not be shared; ``None``: close it."""


def deliver(connection: UpstreamConnection, response: ResponseStart, sink: BodySink) -> None:
    """Let ``sink`` receive the rest of the body; release the connection if there is none."""
    if response.is_done:
        connection.release()
    else:
        connection.deliver_to(sink)

"""The receivers of a response: the client's connection, and the handover to the standard path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from zenzefi.errors import GateError
from zenzefi.proxy.fast_path.head_table import HeadTable
from zenzefi.proxy.upstream.ownership import ConnectionOwner

if TYPE_CHECKING:
    from zenzefi.proxy.fast_path.handover import HandedOver


class BodySink(Protocol):
    """Receives the body of a response: pieces without framing, in order."""

    def piece(self, data: bytes) -> None:
        """Receive the next bytes of the body."""

    def moved(self, count: int) -> None:
        """Count bytes that a splice has moved (:mod:`zenzefi.proxy.fast_path.splice`)."""

    def end(self) -> None:
        """The body is complete."""

    def broken(self, error: GateError) -> None:
        """The body is truncated or malformed, and no more of it follows."""


class ResponseSink(BodySink, Protocol):
    """The client's side of an exchange."""

    head_table: HeadTable
    """Reads the head of the response."""

    def head(
        self, status: int, lines: list[bytes], length: int | None, first: bytes, *, is_done: bool
    ) -> None:
        """Write the head of the response, and the part of the body that came with it.

        ``lines``: the status line and the header lines for the client, without the framing;
        ``length``: the Content-Length in bytes, -1 for a chunked body, ``None`` for neither;
        ``first``: the first bytes of the body; ``is_done``: they are the whole body.
        """

    def register(self) -> bool:
        """Register the connection, so that a long response ends when its token ends.

        Returns false if the token may have ended already: the standard path must validate it.
        """

    def owner(self) -> ConnectionOwner | None:
        """Return the owner of a connection that must not be shared; ``None``: close it."""

    def hand_over(self, result: HandedOver | GateError | None) -> None:
        """Pass the request to the standard path.

        ``result``: a response to continue with, an error to report, or ``None`` to send the request
        to the upstream again.
        """

    def send_again(self) -> None:
        """The pooled connection was closed before the first byte of a response."""

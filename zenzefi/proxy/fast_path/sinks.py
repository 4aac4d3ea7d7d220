"""The receivers of a response: the client's side of an exchange, and the standard path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from zenzefi.errors import GateError
from zenzefi.proxy.fast_path.head_table import HeadTable
from zenzefi.proxy.upstream.ownership import ConnectionOwner

if TYPE_CHECKING:
    from zenzefi.proxy.fast_path.handover import HandedOver


class BodySink(Protocol):
    """Who takes the body of an answer: pieces without their framing, in order."""

    def piece(self, data: bytes) -> None:
        """The next bytes."""

    def moved(self, count: int) -> None:
        """So many bytes have gone past this program (:mod:`zenzefi.proxy.fast_path.splice`)."""

    def end(self) -> None:
        """That was all of it."""

    def broken(self, error: GateError) -> None:
        """It broke off; nothing more comes."""


class ResponseSink(BodySink, Protocol):
    """The browser's side of an exchange."""

    rows: HeadTable

    def head(
        self, status: int, lines: list[bytes], length: int | None, first: bytes, *, is_done: bool
    ) -> None:
        """The head of the answer, and what came of the body in the same breath.

        ``lines``: the status line and the header lines as they leave, but for the framing;
        ``length``: the Content-Length to say, -1 for a body that is chunked, ``None`` for neither;
        ``is_done``: ``first`` is all of the body.
        """

    def hold(self) -> bool:
        """An answer begins that may last: have it end with the token.

        False if the token may have ended meanwhile, so that somebody must ask.
        """

    def owner(self) -> ConnectionOwner | None:
        """Whom a connection belongs to that must not be shared; ``None``: it has to be closed."""

    def hand_over(self, begun: HandedOver | GateError | None) -> None:
        """Let the standard path do the rest; ``None`` lets it begin anew."""

    def send_again(self) -> None:
        """The pooled connection had died before any byte of an answer came."""

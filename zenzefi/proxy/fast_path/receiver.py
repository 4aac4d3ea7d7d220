"""Chooses the receiver of a response on the fast path: the client, or the standard path."""

from __future__ import annotations

from typing import Protocol

from zenzefi.proxy.fast_path.head_table import Head
from zenzefi.proxy.fast_path.held_response import HeldResponse
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.exchange import UpstreamExchange
from zenzefi.proxy.upstream.ownership import ConnectionOwner
from zenzefi.proxy.upstream.sinks import BodySink, ResponseStart
from zenzefi.rewriting.origin_search import LONGEST


class FastPathClient(BodySink, Protocol):
    """The client's connection, as the choice needs it."""

    interims: list[tuple[int, Pairs]]
    """The 1xx responses before this response, which were not passed on."""

    def register(self) -> bool:
        """Register the connection, so that a long response ends when its token ends.

        Returns false if the token may have ended already: the standard path must validate it.
        """

    def head(
        self, status: int, lines: list[bytes], length: int | None, first: bytes, *, is_done: bool
    ) -> None:
        """Write the head of the response, and the part of the body that came with it.

        ``lines``: the status line and the header lines for the client, without the framing;
        ``length``: the Content-Length in bytes, -1 for a chunked body, ``None`` for neither;
        ``first``: the first bytes of the body; ``is_done``: they are the whole body.
        """

    def owner(self) -> ConnectionOwner | None:
        """Return the owner of a connection that must not be shared; ``None``: close it."""

    def hand_over(self, result: UpstreamExchange) -> None:
        """Pass the request to the standard path, which continues with this response."""


def choose_receiver(
    client: FastPathClient, connection: UpstreamConnection, response: ResponseStart
) -> None:
    """Write a usual response to the client; hand any other over to the standard path.

    Raises :class:`~zenzefi.errors.GateError` as
    :meth:`~zenzefi.proxy.upstream.sinks.ResponseSink.begin` does.
    """
    read, is_done = response.read, response.is_done
    is_searched = False
    if isinstance(read, Head) and read.is_usual and not client.interims:
        status, length = read.status, read.length
        is_usual = True
        is_searched = read.search is not None and (response.has_body or connection.is_head)
        if is_searched:
            if not is_done and length <= LONGEST:
                connection.deliver_to(HeldResponse(connection, client, response, read))
                return
            is_usual = is_done and response.has_body and not read.finds(response.first)
        if is_usual and (is_done or client.register()):
            if is_done:
                connection.release()
            else:
                connection.deliver_to(client)
            announced = (
                length if length >= 0 and status != 204 else -1 if response.has_body else None
            )
            client.head(status, read.lines, announced, response.first, is_done=is_done)
            return
    exchange = UpstreamExchange(client.owner)
    exchange.may_pass_unchanged = not is_searched
    exchange.begin(connection, response)
    exchange.interims, client.interims = client.interims, []
    client.hand_over(exchange)

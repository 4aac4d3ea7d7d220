"""Chooses the receiver of a response on the fast path: the client, or the standard path."""

from __future__ import annotations

from typing import Protocol

from zenzefi.proxy.fast_path.head_table import Head
from zenzefi.proxy.fast_path.held_response import HeldResponse
from zenzefi.proxy.fast_path.rewritten_response import RewritingClient, send_mapped
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.exchange import UpstreamExchange
from zenzefi.proxy.upstream.ownership import ConnectionOwner
from zenzefi.proxy.upstream.sinks import ResponseStart
from zenzefi.rewriting.origin_search import LONGEST


class FastPathClient(RewritingClient, Protocol):
    """The client's connection, as the choice needs it."""

    @property
    def has_derived_tag(self) -> bool:
        """Whether the client revalidates a rewritten body, so that the engine maps a 304."""

    interims: list[tuple[int, Pairs]]
    """The 1xx responses before this response, which were not passed on."""

    def owner(self) -> ConnectionOwner | None:
        """Return the owner of a connection that must not be shared; ``None``: close it."""

    def hand_over(self, result: UpstreamExchange) -> None:
        """Pass the request to the standard path, which continues with this response."""


def choose_receiver(
    client: FastPathClient, connection: UpstreamConnection, response: ResponseStart
) -> None:
    """Write a response to the client; hand it over if only the standard path can.

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
        if status == 304 and client.has_derived_tag:
            is_usual = False
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
    if not client.interims and send_mapped(
        client, connection, response, was_searched=is_searched and response.has_body
    ):
        return
    exchange = UpstreamExchange(client.owner)
    exchange.may_pass_unchanged = not is_searched
    exchange.begin(connection, response)
    exchange.interims, client.interims = client.interims, []
    client.hand_over(exchange)

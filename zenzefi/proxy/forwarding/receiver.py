"""Chooses the receiver of a response: the client, the engine, or a place where it waits.

A head that the head table has read, and that needs nothing else, is written at once. The engine
decides about every other head, and its body takes one of four ways::

    passes unchanged              -> the client
    is rewritten                  -> RewrittenBody -> the client
    is searched first             -> HeldResponse, then one of the two above
    lasts, and the token must be  -> ParkedResponse, until the token is validated, then here again
    validated first
"""

from __future__ import annotations

from typing import Protocol

from zenzefi.proxy.browser.parked_response import ParkedResponse, ParkingClient
from zenzefi.proxy.forwarding.head_table import Head
from zenzefi.proxy.forwarding.held_response import HeldResponse
from zenzefi.proxy.forwarding.rewritten_response import RewritingClient, RewrittenBody
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.rewriter import MappedHead, MappedResponse
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.sinks import BodySink, ResponseStart, deliver
from zenzefi.rewriting.origin_search import LONGEST


class ReceivingClient(RewritingClient, ParkingClient, Protocol):
    """The client's connection, as the choice needs it."""

    @property
    def has_derived_tag(self) -> bool:
        """Whether the client revalidates a rewritten body, so that the engine maps a 304."""

    def map_response(self, head: MappedHead) -> MappedResponse:
        """The head for this client. Raises :class:`GateError`."""

    def register(self) -> bool:
        """Register the connection, so that a long response ends when its token ends.

        Returns false if the token may have ended already: it must be validated.
        """

    def validate(self, parked: ParkedResponse) -> None:
        """Validate the token, then deliver the response, or fail."""


def choose_receiver(
    client: ReceivingClient,
    connection: UpstreamConnection | None,
    response: ResponseStart,
    *,
    was_searched: bool = False,
) -> BodySink:
    """Choose the receiver of a response and begin with it; returns the receiver.

    ``connection``: ``None`` if it was released; ``was_searched``: a search has shown that the body
    must be rewritten. Raises :class:`~zenzefi.errors.GateError` as
    :meth:`~zenzefi.proxy.upstream.sinks.ResponseSink.begin` does.
    """
    read, is_done = response.read, response.is_done
    if was_searched or not isinstance(read, Head) or not read.is_usual:
        return _send_mapped(client, connection, response, was_searched=was_searched)
    status, length = read.status, read.length
    is_mapped = False
    if read.search is not None and status not in _BODYLESS:
        if not is_done and length <= LONGEST:
            return HeldResponse(connection, client, response, read.finds, read.lines, length)
        was_searched = response.has_body
        is_mapped = not (is_done and response.has_body) or read.finds(response.first)
    if is_mapped or (status == 304 and client.has_derived_tag):
        return _send_mapped(client, connection, response, was_searched=was_searched)
    if not is_done and not client.register():
        return _validated(client, connection, response)
    if connection is not None and is_done:
        connection.release()
    elif connection is not None:
        connection.deliver_to(client)
    announced = length if length >= 0 and status != 204 else -1 if response.has_body else None
    client.head(status, read.lines, announced, response.first, is_done=is_done)
    return client


def _send_mapped(
    client: ReceivingClient,
    connection: UpstreamConnection | None,
    response: ResponseStart,
    *,
    was_searched: bool,
) -> BodySink:
    """Send a response whose head or body the engine maps."""
    head = MappedHead(response.plain(), has_body=response.has_body)
    mapped = client.map_response(head)
    search = mapped.unless_found if response.has_body else None
    if search is not None:
        if not (was_searched or response.is_done) and (head.length or 0) <= LONGEST:
            length = -1 if mapped.length is None else mapped.length
            lines = _lines(head, mapped.headers)
            return HeldResponse(connection, client, response, search.finds, lines, length)
        if was_searched or not response.is_done or search.finds(response.first):
            mapped = search.otherwise()
    rewrite = mapped.rewrite if response.has_body else None
    if (rewrite is not None or not response.is_done) and not client.register():
        return _validated(client, connection, response, was_searched=was_searched)
    status = mapped.status or head.status
    lines = _lines(head, mapped.headers, status)
    if rewrite is not None:
        body = RewrittenBody(client, status, lines, rewrite)
        client.receive_from(body)
        if connection is not None:
            deliver(connection, response, body)
        body.begin(None if response.is_done else connection, response)
        return body
    announced = mapped.length if head.status != 204 else None
    if announced is None and response.has_body:
        announced = -1
    if connection is not None:
        deliver(connection, response, client)
    client.head(status, lines, announced, response.first, is_done=response.is_done)
    return client


def _validated(
    client: ReceivingClient,
    connection: UpstreamConnection | None,
    response: ResponseStart,
    *,
    was_searched: bool = False,
) -> ParkedResponse:
    """Park a response until the token is validated."""
    parked = ParkedResponse(client, connection, response, was_searched=was_searched)
    client.validate(parked)
    return parked


def _lines(head: MappedHead, headers: Pairs, status: int = 0) -> list[bytes]:
    is_changed = status not in (0, head.status)
    start = b"HTTP/1.1 %d %b\r\n" % ((status, b"") if is_changed else (head.status, head.reason))
    return [start, *[b"%b: %b\r\n" % pair for pair in headers]]


_BODYLESS = (204, 304)

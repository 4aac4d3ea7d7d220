"""Holds a response whose body may pass unchanged, until it is known whether it does.

Between the head and the end of the body the response is a sink of the connection. It ends in one of
two ways: the body is complete in time and its search finds nothing, so the client gets it as it
came; or the engine continues with all that was held (:mod:`zenzefi.proxy.held_body`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from zenzefi.errors import GateError
from zenzefi.proxy import held_body
from zenzefi.proxy.fast_path.head_table import Head
from zenzefi.proxy.fast_path.rewritten_response import send_mapped
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.exchange import UpstreamExchange
from zenzefi.proxy.upstream.sinks import ResponseStart
from zenzefi.rewriting.origin_search import LONGEST

if TYPE_CHECKING:
    from zenzefi.proxy.fast_path.receiver import FastPathClient


class HeldResponse:
    """One held response, a ``BodySink``; ``head``: what the head table has read."""

    __slots__ = ("_client", "_connection", "_head", "_pieces", "_response", "_size", "_timer")

    def __init__(
        self,
        connection: UpstreamConnection,
        client: FastPathClient,
        response: ResponseStart,
        head: Head,
    ) -> None:
        self._connection = connection
        self._client = client
        self._response = response
        self._head = head
        self._pieces = [response.first] if response.first else []
        self._size = len(response.first)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(held_body.SECONDS, self._give_up)

    def piece(self, data: bytes) -> None:
        """Hold the next bytes of the body."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > LONGEST:
            self._give_up()

    def moved(self, count: int) -> None:
        """Not called: a held response is never spliced."""

    def end(self) -> None:
        """The body is complete: search it. The connection was returned to the pool."""
        self._timer.cancel()
        body = b"".join(self._pieces)
        # The token may have ended meanwhile.
        if not self._head.finds(body) and self._client.register():
            self._client.head(
                self._head.status, self._head.lines, self._head.length, body, is_done=True
            )
            return
        self._pieces = [body]
        self._continue(None, is_done=True)

    def broken(self, error: GateError) -> None:
        """The body is truncated or malformed: its bytes before that are delivered."""
        self._timer.cancel()
        exchange = self._exchange(None)
        exchange.broken(error)
        self._client.hand_over(exchange)

    def _give_up(self) -> None:
        """The body is too long or too slow to be held."""
        self._timer.cancel()
        if self._connection.delivers_to(self):
            self._continue(self._connection, is_done=False)

    def _continue(self, connection: UpstreamConnection | None, *, is_done: bool) -> None:
        """Let the engine rewrite the body, here if possible, else on the standard path."""
        response = self._response._replace(first=b"".join(self._pieces), is_done=is_done)
        try:
            if send_mapped(self._client, connection, response, was_searched=True):
                return
        except GateError as error:
            if connection is not None:
                connection.abandon()
            self._client.failed(error)
            return
        exchange = self._exchange(connection)
        if connection is not None:
            connection.deliver_to(exchange)
        self._client.hand_over(exchange)

    def _exchange(self, connection: UpstreamConnection | None) -> UpstreamExchange:
        exchange = UpstreamExchange(self._client.owner)
        exchange.begin_held(self._response, b"".join(self._pieces), connection)
        exchange.may_pass_unchanged = False
        return exchange

"""Holds the beginning of a body that may pass unchanged, until it is known whether it does.

A body that the engine would change only at mentions of the upstream is searched first
(:mod:`zenzefi.rewriting.origin_search`). The search needs the whole body, so a body is held until
it is complete, :data:`LONGEST` bytes and :data:`SECONDS` at most. Then either the search
has found nothing, and the client gets the body as it came; or the engine continues with all that
was held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from zenzefi.errors import GateError
from zenzefi.proxy.browser.parked_response import ParkedResponse
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.sinks import ResponseStart
from zenzefi.rewriting.origin_search import LONGEST

if TYPE_CHECKING:
    from zenzefi.proxy.forwarding.receiver import ReceivingClient

SECONDS = 0.05
"""The longest time for which a body is held: browsers show what they have."""


class HeldResponse(ParkedResponse):
    """One held response.

    ``finds`` returns whether the engine has to rewrite a whole body; ``lines`` and ``length``
    are the head of a body that passes unchanged (:meth:`ReceivingClient.head`).
    """

    _client: ReceivingClient

    __slots__ = ("_finds", "_length", "_lines", "_timer")

    def __init__(
        self,
        connection: UpstreamConnection | None,
        client: ReceivingClient,
        response: ResponseStart,
        finds: Callable[[bytes], bool],
        lines: list[bytes],
        length: int,
    ) -> None:
        super().__init__(client, connection, response)
        self._finds = finds
        self._lines = lines
        self._length = length
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(SECONDS, self._give_up)

    def piece(self, data: bytes) -> None:
        """Hold the next bytes of the body."""
        super().piece(data)
        if self._size > LONGEST:
            self._give_up()

    def end(self) -> None:
        """The body is complete: search it."""
        super().end()
        self._timer.cancel()
        body = b"".join(self._pieces)
        if self._finds(body):
            self._give_up()
        else:
            status = self._response.read.status
            self._client.head(status, self._lines, self._length, body, is_done=True)

    def broken(self, error: GateError) -> None:
        """The body is truncated or malformed: its bytes before that are delivered."""
        super().broken(error)
        self._give_up()

    def abandon(self) -> None:
        """The response is not needed."""
        self._timer.cancel()
        super().abandon()

    def _give_up(self) -> None:
        """The body has a mention, is broken, or is too long or too slow to be held."""
        self._timer.cancel()
        self.was_searched = True
        self.deliver()

"""A response that a task awaits while callbacks send it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion11

from zenzefi.errors import GateError
from zenzefi.http.observation import BEGUN
from zenzefi.proxy.upstream.exchange import Parked


class CountingClient(Protocol):
    """The client's connection, as the count of its bytes needs it."""

    @property
    def sent(self) -> int:
        """Bytes of the current response's body so far."""


class AwaitedResponse(web.StreamResponse):
    """The response, as aiohttp and the task see it.

    The client's connection sends it, so aiohttp has nothing to write.
    """

    def __init__(
        self, request: web.BaseRequest, client: CountingClient, request_id: bytes = b""
    ) -> None:
        """``request_id``: sent with the response, if it is not empty."""
        super().__init__()
        self._request: web.BaseRequest | None = request  # until the end: it refers to this object
        self._is_kept = bool(request.keep_alive)
        self.request_id = request_id
        self.is_http_10 = request.version < HttpVersion11
        self.ended: asyncio.Future[Parked | None]
        """Set when the response is over: to a response that is not wanted, if it is to be fetched
        without a range. Its exception is an error for which another response can be given."""
        self._client: CountingClient | None = client
        self._sent = 0
        self._closes = False
        self.renew()

    def renew(self) -> None:
        """Await a response to the request, or to another one in its place."""
        self.ended = asyncio.get_running_loop().create_future()

    # --- called by the client's connection

    def begin(self, status: int, *, closes: bool) -> None:
        """The head is sent; ``closes``: the client's connection ends with the response."""
        self.set_status(status)
        self._closes = closes
        if self._request is not None:
            self._request[BEGUN] = self

    def end(self, sent: int, *, closes: bool) -> None:
        """The response is over after ``sent`` bytes of its body."""
        self._client, self._sent = None, sent
        self._request = None  # no cycle: see zenzefi.runtime.memory
        self._closes = self._closes or closes
        if not self.ended.done():
            self.ended.set_result(None)

    def fail(self, error: GateError) -> None:
        """No response was sent, so another one can be."""
        self._client = self._request = None
        if not self.ended.done():
            self.ended.set_exception(error)

    def refetch(self, parked: Parked) -> None:
        """The whole response is needed, not this part of it."""
        if not self.ended.done():
            self.ended.set_result(parked)

    # --- read by other parts

    @property
    def sent(self) -> int:
        """Bytes of the body so far."""
        return self._sent if self._client is None else self._client.sent

    @property
    def body_length(self) -> int:
        """Bytes of the body so far, for aiohttp."""
        return self.sent

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow on the client's connection."""
        return self._is_kept and not self._closes

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Nothing: the client's connection has sent the head."""
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing: the client's connection has ended the body."""

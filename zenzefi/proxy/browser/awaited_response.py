"""A response that a task awaits while callbacks send it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from zenzefi.errors import GateError
from zenzefi.http.observation import BEGUN
from zenzefi.proxy.upstream.upgrade import Upgrade


class CountingClient(Protocol):
    """The client's connection, as the count of its bytes needs it."""

    @property
    def sent(self) -> int:
        """Bytes of the current response's body so far."""


class AwaitedResponse(web.StreamResponse):
    """The response, as aiohttp and the task see it.

    The client's connection sends it, so aiohttp has nothing to write.
    """

    def __init__(self, request: web.BaseRequest, client: CountingClient) -> None:
        super().__init__()
        self._request: web.BaseRequest | None = request  # until the end: it refers to this object
        self._is_kept = bool(request.keep_alive)
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Resolved when the response is over. Its exception is an error for which another response
        can be given."""
        self.upgrade: Upgrade | None = None
        """The upstream's connection after a 101, which resolves ``ended`` as well."""
        self._client: CountingClient | None = client
        self._sent = 0
        self._closes = False

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

    def upgraded(self, upgrade: Upgrade) -> None:
        """The upstream has accepted a handshake; :meth:`discard` closes its connection."""
        if self.ended.done():
            upgrade.close()
        else:
            self.upgrade = upgrade
            self.ended.set_result(None)

    def discard(self) -> None:
        """Close an upgraded connection that was not taken."""
        if self.upgrade is not None:
            self.upgrade.close()

    def fail(self, error: GateError) -> None:
        """No response was sent, so another one can be."""
        self._client = self._request = None
        if not self.ended.done():
            self.ended.set_exception(error)

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

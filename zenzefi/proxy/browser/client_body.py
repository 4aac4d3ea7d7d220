"""The content of a request whose task reads it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from aiohttp import web
from aiohttp.http import HttpVersion11

from zenzefi.errors import BadRequest
from zenzefi.http.errors import RequestTimeout
from zenzefi.http.expect_continue import expectation_of
from zenzefi.proxy.headers.pairs import Pairs


class InvitingClient(Protocol):
    """The client's connection, as its content needs it."""

    def write_interim(self, status: int, headers: Pairs) -> None:
        """Write a 1xx response, unless the final one has begun."""


class ClientBody:
    """A ``RequestBody`` for the upstream."""

    def __init__(
        self, request: web.BaseRequest, client: InvitingClient, idle_timeout: float
    ) -> None:
        self.length = request.content_length
        self.expects_continue = (
            request.version == HttpVersion11 and expectation_of(request) is not None
        )
        self.received = 0
        self._request = request
        self._client = client
        self._idle_timeout = idle_timeout

    def invite(self) -> None:
        """Send ``100 Continue`` (RFC 9110, 15.2.1)."""
        if not self._request.content.is_eof():
            self._client.write_interim(100, [])

    async def read(self) -> bytes:
        """The next piece, ``b""`` at the end.

        Raises :class:`BadRequest` for broken framing and :class:`RequestTimeout` for a client that
        stopped sending (or disconnected: then the error is not sent).
        """
        try:
            async with asyncio.timeout(self._idle_timeout):
                piece = await self._request.content.readany()
        except web.RequestPayloadError:
            raise BadRequest("The request's content is not framed properly.") from None
        except (TimeoutError, OSError, RuntimeError):
            raise RequestTimeout from None
        self.received += len(piece)
        return piece

"""The beginning of a request's content, read by a task for plugins before it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from zenzefi.errors import BadRequest
from zenzefi.http.errors import RequestTimeout
from zenzefi.http.expect_continue import expectation_of
from zenzefi.proxy.method_override import ContentInspection


class ContentReader:
    """A ``ReadableContent`` (:mod:`zenzefi.proxy.rewriter`)."""

    def __init__(
        self,
        request: web.BaseRequest,
        send_continue: Callable[[], None],
        idle_timeout: float,
        inspection: ContentInspection | None,
    ) -> None:
        """``idle_timeout``: seconds without a byte."""
        self.length = request.content_length
        self._request = request
        self._send_continue = send_continue
        self._idle_timeout = idle_timeout
        self._inspection = inspection
        self._left = self.length

    def invite(self) -> None:
        """Send 100 Continue to a client that waits for it (RFC 9110, 10.1.1)."""
        if expectation_of(self._request) is not None:
            self._send_continue()

    async def read(self) -> bytes:
        """The next piece, ``b""`` at the end.

        Raises :class:`BadRequest` for broken framing, :class:`RequestTimeout` for a client that
        stopped sending, and ``ScopeRefused`` for a method that the scope does not cover.
        """
        try:
            async with asyncio.timeout(self._idle_timeout):
                piece = await self._request.content.readany()
        except web.RequestPayloadError:
            raise BadRequest("The request's content is not framed properly.") from None
        except (TimeoutError, OSError, RuntimeError):
            raise RequestTimeout from None
        if self._left is not None:
            self._left -= len(piece)
        if self._inspection is not None:
            self._inspection.check(piece, is_last=not piece or self._left == 0)
        return piece

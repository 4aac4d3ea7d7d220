"""Requests that the fast path has begun and the standard path completes."""

from __future__ import annotations

from aiohttp.http import RawRequestMessage

from zenzefi.errors import GateError
from zenzefi.observability.tracing import ServerSpan


class HandedOver:
    """One request that was handed over, kept until the next one begins.

    The request is identified by the object with its headers, which no other request has.
    """

    __slots__ = ("_error", "_headers", "_is_counted", "_span")

    def __init__(
        self,
        message: RawRequestMessage,
        error: GateError | None,
        *,
        is_counted: bool,
        span: ServerSpan | None,
    ) -> None:
        """Hold the error, the count and the span of the request that was parsed as ``message``."""
        self._headers: object = message.raw_headers
        self._error = error
        self._is_counted = is_counted
        self._span = span

    def check(self, message: RawRequestMessage) -> None:
        """Raise the error of this request, if there is one, once."""
        if self._error is not None and self._headers is message.raw_headers:
            error, self._error = self._error, None
            raise error

    def was_counted(self, message: RawRequestMessage) -> bool:
        """Whether this request was counted by the rate limit already."""
        return self._is_counted and self._headers is message.raw_headers

    def take_span(self, message: RawRequestMessage) -> ServerSpan | None:
        """Remove and return the span of this request, if it has begun."""
        if self._headers is not message.raw_headers:
            return None
        span, self._span = self._span, None
        return span

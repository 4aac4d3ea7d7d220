"""Requests that failed without a task: they get one, which responds with the error."""

from __future__ import annotations

from aiohttp.http import RawRequestMessage

from zenzefi.errors import GateError
from zenzefi.observability.access_log import Subject
from zenzefi.observability.tracing import ServerSpan


class HandedOver:
    """One request that was handed over, kept until the next one begins.

    The request is identified by the object with its headers, which no other request has.
    """

    __slots__ = ("_error", "_headers", "_span", "_subject")

    def __init__(
        self,
        message: RawRequestMessage,
        error: GateError,
        subject: Subject,
        span: ServerSpan | None,
    ) -> None:
        """Hold the error and the span of the request that was parsed as ``message``."""
        self._headers: object = message.raw_headers
        self._error: GateError | None = error
        self._subject: Subject | None = subject
        self._span = span

    def take(self, message: RawRequestMessage) -> tuple[GateError, Subject] | None:
        """Remove and return the error of this request, if there is one."""
        error, subject = self._error, self._subject
        if error is None or subject is None or self._headers is not message.raw_headers:
            return None
        self._error = None
        return error, subject

    def take_span(self, message: RawRequestMessage) -> ServerSpan | None:
        """Remove and return the span of this request, if it has begun."""
        if self._headers is not message.raw_headers:
            return None
        span, self._span = self._span, None
        return span

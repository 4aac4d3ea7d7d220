"""Responses that the fast path has started and the standard path completes."""

from __future__ import annotations

from zenzefi.errors import GateError
from zenzefi.proxy.upstream.exchange import UpstreamExchange


class PendingHandover:
    """The result of the fast path for one request, until the standard path takes it."""

    __slots__ = ("_message", "_result")

    def __init__(self) -> None:
        self._message: object = None
        self._result: UpstreamExchange | GateError | None = None

    def put(self, message: object, result: UpstreamExchange | GateError) -> None:
        """Hold a result for the request that was parsed as ``message``."""
        self._message, self._result = message, result

    def take(self, message: object) -> UpstreamExchange | None:
        """Remove and return the response to this request, if any.

        Raises the :class:`GateError` of a failed exchange.
        """
        if self._result is None or self._message is not message:
            return None
        result, self._message, self._result = self._result, None, None
        if isinstance(result, GateError):
            raise result
        return result

    def drop(self) -> None:
        """Drop a response that was not taken, because the standard path rejected the request."""
        result, self._message, self._result = self._result, None, None
        if isinstance(result, UpstreamExchange):
            result.drop()

"""Errors of the fast path, for which the standard path makes the response."""

from __future__ import annotations

from zenzefi.errors import GateError


class PendingError:
    """The error of one request, until the standard path takes it."""

    __slots__ = ("_error", "_message")

    def __init__(self) -> None:
        self._message: object = None
        self._error: GateError | None = None

    def put(self, message: object, error: GateError) -> None:
        """Hold the error of the request that was parsed as ``message``."""
        self._message, self._error = message, error

    def check(self, message: object) -> None:
        """Raise the error of this request, if there is one, once."""
        if self._error is None or self._message is not message:
            return
        error, self._message, self._error = self._error, None, None
        raise error

    def drop(self) -> None:
        """Forget an error that was not taken, because the standard path rejected the request."""
        self._message = self._error = None

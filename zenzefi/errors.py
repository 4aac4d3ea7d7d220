"""Base classes of errors, and the one shape of an error response.

    GateError 500
    ├── BadRequest 400
    ├── Unauthenticated 401
    ├── PaymentRequired 402
    ├── Forbidden 403
    ├── NotFound 404
    ├── MethodRefused 405
    ├── Conflict 409
    ├── PayloadTooLarge 413
    ├── Invalid 422 (a list of field problems)
    ├── RateLimited 429
    ├── UpstreamFailed 502 ─ UpstreamProtocolError
    └── Unavailable 503

Each domain defines its errors in its own package: ``zenzefi/<domain>/errors.py``, or next to the
only code that raises them. :func:`all_errors` collects them. Code of a domain raises errors;
only the error middleware (``http/error_responses.py``) makes responses of them. Status, code and
default text are part of the public contract: ``docs/reference/errors.md`` is generated from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar


class GateError(Exception):
    """An unexpected error. Base of all errors that a client may receive.

    Each class fixes ``status`` and ``code``. An instance may replace the ``default`` text by its
    own ``detail``, and ``headers`` are added to the response. A detail is written for a user: it
    says what happened and what to do next. It contains no addresses, secrets or tracebacks.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    default: ClassVar[str] = (
        "Something went wrong on our side. Try again; if it keeps happening, send the operator the "
        "request ID."
    )

    def __init__(
        self, detail: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> None:
        self.detail: str | list[dict[str, Any]] = detail if detail is not None else self.default
        self.headers: dict[str, str] = dict(headers or {})
        super().__init__(self.detail)

    def body(self, request_id: str) -> dict[str, Any]:
        """The JSON object of the response."""
        return {"detail": self.detail, "code": self.code, "request_id": request_id}


class BadRequest(GateError):
    """The request is malformed."""

    status = 400
    code = "bad_request"
    default = "The request could not be understood."


class Unauthenticated(GateError):
    """The request does not authenticate a user or an access token."""

    status = 401
    code = "unauthenticated"
    default = "Authentication required"
    challenge: ClassVar[str] = "Bearer"
    """``WWW-Authenticate`` of the response (RFC 9110, 15.5.2)."""

    def __init__(
        self, detail: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail, headers=headers)
        if self.status == 401:  # a subclass may have another status
            self.headers.setdefault("WWW-Authenticate", self.challenge)


class PaymentRequired(GateError):
    """The balance is too low."""

    status = 402
    code = "payment_required"
    default = "Payment required"


class Forbidden(GateError):
    """The caller is authenticated, but not allowed to do this."""

    status = 403
    code = "forbidden"
    default = "Forbidden"


class NotFound(GateError):
    """The resource does not exist, or belongs to another user."""

    status = 404
    code = "not_found"
    default = "Not found"


class MethodRefused(GateError):
    """A method that this resource does not support."""

    status = 405
    code = "method_not_allowed"
    default = "Method not allowed"

    def __init__(self, allowed: Sequence[str], detail: str | None = None) -> None:
        super().__init__(detail, headers={"Allow": ", ".join(allowed)})


class Conflict(GateError):
    """Conflicts with the current state; may succeed later."""

    status = 409
    code = "conflict"
    default = "Conflict"


class PayloadTooLarge(GateError):
    """The request body exceeds the limit of this resource."""

    status = 413
    code = "payload_too_large"
    default = "The request body is too large."


class Invalid(GateError):
    """Invalid fields: ``[{"type", "loc", "msg", "input"}, ...]``."""

    status = 422
    code = "validation_error"
    default = "The request is not valid."

    def __init__(self, problems: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.detail = [dict(problem) for problem in problems]

    @classmethod
    def field(
        cls, *loc: str | int, msg: str, type: str = "value_error", input: Any = None
    ) -> Invalid:
        """The error for one problem of one field."""
        return cls([{"type": type, "loc": list(loc), "msg": msg, "input": input}])


class RateLimited(GateError):
    """Too many requests."""

    status = 429
    code = "rate_limited"
    default = "Too many requests. Wait a moment and try again."

    def __init__(self, retry_after: int, detail: str | None = None) -> None:
        """``retry_after``: seconds to wait, at least 1."""
        super().__init__(detail, headers={"Retry-After": str(max(1, retry_after))})


class UpstreamFailed(GateError):
    """The upstream did not send a valid response."""

    status = 502
    code = "upstream_failed"
    default = "The application behind this gate sent an invalid response. Try again in a moment."


class UpstreamProtocolError(UpstreamFailed):
    """A response that is not valid HTTP, or not safe to forward."""

    code = "upstream_protocol_error"


class Unavailable(GateError):
    """The gate can't serve the request now."""

    status = 503
    code = "unavailable"
    default = "The service is temporarily unavailable. Try again in a moment."

    def __init__(self, detail: str | None = None, *, retry_after: int = 5) -> None:
        """``retry_after``: seconds to wait."""
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


def all_errors(base: type[GateError] = GateError) -> Iterator[type[GateError]]:
    """The error classes of the program: ``base`` and its subclasses, in the order of definition.

    A class is found once its module is imported; importing ``zenzefi.app`` imports all of them.
    """
    yield base
    for error in base.__subclasses__():
        if error.__module__.startswith("zenzefi."):
            yield from all_errors(error)

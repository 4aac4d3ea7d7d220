"""The tree of domain errors, and the one place that says what each looks like over HTTP.

    GateError
    ├── BadRequest 400 ─ AmbiguousRequest, InvalidDeviceId, InvalidDuration,
    │                    EmailTaken, UsernameTaken
    ├── Unauthenticated 401 ─ CredentialsRejected, LoginRejected, SecondFactorRejected,
    │                         OwnOriginRequired, SignInLinkInvalid, BrowserNotConfirmed,
    │                         TokenMissing, SignInRequired, TokenRejected
    │                          └── TokenInvalid, TokenExpired, TokenRevoked
    ├── PaymentRequired 402 ─ InsufficientBalance
    ├── Forbidden 403 ─ NotAuthenticated, InactiveUser, NotSuperuser,
    │                   SecondFactorRequired, ScopeRefused, DeviceRequired, CrossSiteRefused,
    │                   OwnOriginMissing
    ├── NotFound 404
    ├── MethodRefused 405
    ├── Conflict 409 ─ DeviceConflict, IdempotencyInFlight
    ├── RequestTimeout 408
    ├── PayloadTooLarge 413
    ├── ExpectationFailed 417
    ├── Invalid 422 (a list of field problems)
    ├── RateLimited 429
    ├── TooManyConnections 429
    ├── UpstreamFailed 502 ─ UpstreamUnreachable, UpstreamProtocolError
    ├── Unavailable 503 ─ UpstreamBusy, TooManyOpenFiles,
    │                     DatabaseUnavailable ─ DatabaseNotWritable
    └── UpstreamTimeout 504

Domain code raises these; only the error middleware makes responses of them. Texts and codes are
part of the public contract (``docs/reference/errors.md`` lists them, held against this module).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class GateError(Exception):
    """Base of every refusal and failure that a client may see.

    ``status`` and ``code`` are fixed per class, ``detail`` may be given per instance; ``headers``
    are added to the response. A detail is written for the person who reads it: what happened and
    what to do next, never an address, a secret or a traceback.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    default: ClassVar[str] = (
        "Something went wrong here. Try again; if it stays, tell the operator the request id."
    )

    def __init__(
        self, detail: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> None:
        self.detail: str | list[dict[str, Any]] = detail if detail is not None else self.default
        self.headers: dict[str, str] = dict(headers or {})
        super().__init__(self.detail)

    def body(self, request_id: str) -> dict[str, Any]:
        """The one error shape."""
        return {"detail": self.detail, "code": self.code, "request_id": request_id}


# --- 400 ----------------------------------------------------------------------------------------


class BadRequest(GateError):
    """The request can't be understood or must not be guessed at."""

    status = 400
    code = "bad_request"
    default = "The request could not be understood."


class AmbiguousRequest(BadRequest):
    """A request that two servers could read in two ways."""

    code = "ambiguous_request"


class InvalidDeviceId(BadRequest):
    """``X-Device-ID`` is not 8 to 255 visible ASCII characters."""

    code = "invalid_device_id"
    default = "X-Device-ID must be 8 to 255 visible ASCII characters."


class InvalidDuration(BadRequest):
    """A token of that duration is not sold."""

    code = "invalid_duration"
    default = "Invalid duration. Must be one of: [1, 12, 24, 168, 720]"


class EmailTaken(BadRequest):
    """Registration with an address that has an account."""

    code = "email_taken"
    default = "Email already registered"


class UsernameTaken(BadRequest):
    """Registration with a name that has an account."""

    code = "username_taken"
    default = "Username already taken"


# --- 401 ----------------------------------------------------------------------------------------


class Unauthenticated(GateError):
    """Who is asking could not be established."""

    status = 401
    code = "unauthenticated"
    default = "Authentication required"


class CredentialsRejected(Unauthenticated):
    """A bearer JWT that is malformed, expired, or of an unknown user."""

    code = "invalid_credentials"
    default = "Could not validate credentials"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class LoginRejected(Unauthenticated):
    """Unknown address, wrong password or deactivated account: alike on purpose."""

    code = "login_rejected"
    default = "Incorrect email or password"


class SecondFactorRejected(Unauthenticated):
    """The account has two-step sign-in, and the code was missing, wrong or used before."""

    code = "second_factor_rejected"
    default = "This account has two-step sign-in: send a current code, or a recovery code."


class TokenMissing(Unauthenticated):
    """A proxied request without an access token."""

    code = "token_missing"
    default = "Authentication required: provide X-Access-Token header"


class SignInRequired(Unauthenticated):
    """A browser's proxy cookie without a live sign-in of this browser."""

    code = "sign_in_required"
    default = (
        "This browser's sign-in has ended, or it was made in another browser. Open the application "
        "again from your account page."
    )


class TokenRejected(Unauthenticated):
    """Base of the three ways in which an access token does not let anybody in."""

    code = "token_invalid"
    default = "Invalid or expired access token"


class TokenInvalid(TokenRejected):
    """Malformed or unknown."""


class TokenExpired(TokenRejected):
    """Its time has passed."""

    code = "token_expired"


class TokenRevoked(TokenRejected):
    """Revoked by its owner or an administrator, or the owner is deactivated."""

    code = "token_revoked"


class OwnOriginRequired(Unauthenticated):
    """A browser's cookie under the prefix, where ``BROWSER_MOUNT`` is not ``prefix``."""

    code = "own_origin_required"
    default = (
        "A cookie does not authenticate here. Open the application from your account page, or "
        "send the X-Access-Token header."
    )


class SignInLinkInvalid(Unauthenticated):
    """A sign-in link at the own origin that is forged, expired, used or another browser's."""

    code = "sign_in_link_invalid"
    default = "This sign-in link is not valid any more. Open the application from your account."


class BrowserNotConfirmed(Unauthenticated):
    """A sign-in link without the cookie of the browser for which it was made."""

    code = "browser_not_confirmed"
    default = (
        "This sign-in was started in another browser, or this browser did not keep its cookie. "
        "Allow cookies for this site, then open the application from your account."
    )


# --- 402, 403 -----------------------------------------------------------------------------------


class PaymentRequired(GateError):
    """The balance does not cover it."""

    status = 402
    code = "payment_required"
    default = "Payment required"


class InsufficientBalance(PaymentRequired):
    """A purchase above the balance."""

    code = "insufficient_balance"
    default = "Insufficient balance"

    def __init__(self, detail: str | None = None, *, missing: str | None = None) -> None:
        """``missing``: what to top up, as money is written in the API."""
        super().__init__(detail)
        self.missing = missing

    def body(self, request_id: str) -> dict[str, Any]:
        """The one error shape, and what is missing for programs."""
        more = {} if self.missing is None else {"missing_znc": self.missing}
        return super().body(request_id) | more


class Forbidden(GateError):
    """Known, but not allowed."""

    status = 403
    code = "forbidden"
    default = "Forbidden"


class NotAuthenticated(Forbidden):
    """No ``Authorization`` header, or another scheme than Bearer (403 by contract)."""

    code = "not_authenticated"
    default = "Not authenticated"


class InactiveUser(Forbidden):
    """The account was deactivated."""

    code = "inactive_user"
    default = "Inactive user"


class NotSuperuser(Forbidden):
    """An administrator's call by somebody else."""

    code = "not_superuser"
    default = "Superuser permissions required"


class PasswordRejected(Forbidden):
    """A change that needs the current password, and it was wrong (403: who asks is known)."""

    code = "password_rejected"
    default = "The current password is wrong."


class CodeRejected(Forbidden):
    """A change that needs a two-step code, and it was missing, wrong or used before."""

    code = "code_rejected"
    default = "This account has two-step sign-in: send a current code, or a recovery code."


class SecondFactorRequired(Forbidden):
    """An administrator's call with a bearer token that was got by a password alone."""

    code = "second_factor_required"
    default = (
        "Administration needs two-step sign-in here. Set it up on your profile page, then sign in "
        "again with a code."
    )


class ScopeRefused(Forbidden):
    """The token's scope does not cover this path."""

    code = "scope_refused"
    default = "This access token does not cover this address. Buy a token with a wider scope."


class OwnOriginMissing(Forbidden):
    """A browser wants to open the application, and it has no own origin to be opened at."""

    code = "own_origin_missing"
    default = (
        "The application can't be opened in a browser here yet. The operator must set PROXY_HOST "
        "or PROXY_PORT."
    )


class DeviceRequired(Forbidden):
    """Policy ``required`` and no ``X-Device-ID``."""

    code = "device_required"
    default = "This gate needs to know the device: send X-Device-ID."


class CrossSiteRefused(Forbidden):
    """A state-changing call that did not come from the gate's own pages."""

    code = "cross_site_refused"
    default = "This request did not come from the gate's own pages. Open the page again and retry."


# --- 404 to 429 ---------------------------------------------------------------------------------


class NotFound(GateError):
    """No such thing, or not yours."""

    status = 404
    code = "not_found"
    default = "Not found"


class MethodRefused(GateError):
    """A method that this resource does not take."""

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


class DeviceConflict(Conflict):
    """Another device holds the token."""

    code = "device_conflict"
    default = (
        "This access token is in use on another device. Release the device on your account page, "
        "or wait until it has been idle for five minutes."
    )


class IdempotencyInFlight(Conflict):
    """The first request with this ``Idempotency-Key`` is still running."""

    code = "idempotency_in_flight"
    default = "A request with this Idempotency-Key is still running. Retry shortly."

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": "1"})


class RequestTimeout(GateError):
    """The client stopped sending in the middle of its request."""

    status = 408
    code = "request_timeout"
    default = "The request did not arrive completely in time. Send it again."


class ExpectationFailed(GateError):
    """An ``Expect`` other than ``100-continue`` (RFC 9110 section 10.1.1)."""

    status = 417
    code = "expectation_failed"
    default = "The only expectation this server knows is 100-continue."


class PayloadTooLarge(GateError):
    """A body beyond the limit of this resource."""

    status = 413
    code = "payload_too_large"
    default = "The request body is too large."


class Invalid(GateError):
    """Fields that did not validate: ``[{"type", "loc", "msg", "input"}, ...]``."""

    status = 422
    code = "validation_error"

    def __init__(self, problems: Sequence[Mapping[str, Any]]) -> None:
        super().__init__("The request did not validate.")
        self.detail = [dict(problem) for problem in problems]

    @classmethod
    def field(
        cls, *loc: str | int, msg: str, type: str = "value_error", input: Any = None
    ) -> Invalid:
        """One problem of one field."""
        return cls([{"type": type, "loc": list(loc), "msg": msg, "input": input}])


class RateLimited(GateError):
    """Too many requests; ``retry_after`` in whole seconds."""

    status = 429
    code = "rate_limited"
    default = "Too many requests. Wait a moment and try again."

    def __init__(self, retry_after: int, detail: str | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, retry_after))})


class TooManyUnknownTokens(RateLimited, TokenInvalid):
    """An unknown access token from a network that sent many of them: 429 in the place of 401."""


class TooManyConnections(GateError):
    """One access token has as many connections to the upstream as it may have."""

    status = 429
    code = "too_many_connections"
    default = (
        "This access token has too many requests, streams or WebSockets open at the same time. "
        "Close some of them and try again."
    )

    def __init__(self, detail: str | None = None, *, retry_after: int = 5) -> None:
        """``retry_after`` in whole seconds."""
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


# --- 5xx ----------------------------------------------------------------------------------------


class UpstreamFailed(GateError):
    """The application behind the gate did not answer properly."""

    status = 502
    code = "upstream_failed"
    default = "The application behind this gate gave no proper answer. Try again in a moment."


class UpstreamUnreachable(UpstreamFailed):
    """No connection, or it broke before an answer."""

    code = "upstream_unreachable"
    default = "The application behind this gate can't be reached. Try again in a moment."


class UpstreamProtocolError(UpstreamFailed):
    """An answer that is not valid HTTP, or not safe to pass on."""

    code = "upstream_protocol_error"


class Unavailable(GateError):
    """The gate itself can't serve this now."""

    status = 503
    code = "unavailable"
    default = "The service is temporarily unavailable. Try again in a moment."

    def __init__(self, detail: str | None = None, *, retry_after: int = 5) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class DatabaseUnavailable(Unavailable):
    """The database did not answer, and nothing cached could."""

    code = "database_unavailable"


class DatabaseNotWritable(DatabaseUnavailable):
    """The database takes no writes: its disk is full, or it is a read-only standby."""

    code = "database_not_writable"
    default = "The service can't save changes right now. Try again in a moment."


class UpstreamBusy(Unavailable):
    """All connections to the upstream that may be had are in use."""

    code = "upstream_busy"
    default = "All connections to the application are in use. Try again in a moment."


class TooManyOpenFiles(Unavailable):
    """The system gives this process no more descriptors, ports or memory for a connection."""

    code = "too_many_open_files"


class UpstreamTimeout(GateError):
    """The upstream was silent for longer than allowed."""

    status = 504
    code = "upstream_timeout"
    default = "The application behind this gate took too long to answer. Try again in a moment."

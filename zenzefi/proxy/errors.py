"""Errors of the reverse proxy: sign-in of browsers, and failures of the upstream."""

from __future__ import annotations

from zenzefi.errors import (
    Forbidden,
    GateError,
    NotFound,
    Unauthenticated,
    Unavailable,
    UpstreamFailed,
)
from zenzefi.origin import TOKEN_CHALLENGE


class OwnOriginRequired(Unauthenticated):
    """A browser's cookie under the prefix, where ``BROWSER_MOUNT`` is not ``prefix``."""

    challenge = TOKEN_CHALLENGE
    code = "own_origin_required"
    default = (
        "A cookie does not authenticate here. Open the application from your account page, or "
        "send the X-Access-Token header."
    )


class UnaskedRequest(NotFound):
    """A request that a browser makes by itself, such as a prefetch, with a token not used before.

    It would start the time of the token. The same request passes once the token is in use.
    """

    code = "unasked_request"
    default = "A request that a browser makes by itself does not start the time of a token."


class SignInLinkInvalid(Unauthenticated):
    """A sign-in link that is forged, expired, already used or made for another browser."""

    challenge = TOKEN_CHALLENGE
    code = "sign_in_link_invalid"
    default = "This sign-in link is no longer valid. Open the application from your account."


class BrowserNotConfirmed(Unauthenticated):
    """A sign-in link without the cookie of the browser for which it was made."""

    challenge = TOKEN_CHALLENGE
    code = "browser_not_confirmed"
    default = (
        "This sign-in was started in another browser, or this browser did not keep its cookie. "
        "Allow cookies for this site, then open the application from your account."
    )


class OwnOriginMissing(Forbidden):
    """Neither ``PROXY_HOST`` nor ``PROXY_PORT`` is set, so browsers can't open the application."""

    code = "own_origin_missing"
    default = (
        "The application can't be opened in a browser here yet. The operator must set PROXY_HOST "
        "or PROXY_PORT."
    )


class TooManyConnections(GateError):
    """An access token has reached its limit of connections to the upstream."""

    status = 429
    code = "too_many_connections"
    default = (
        "This access token has too many requests, streams or WebSockets open at the same time. "
        "Close some of them and try again."
    )

    def __init__(self, detail: str | None = None, *, retry_after: int = 5) -> None:
        """``retry_after``: seconds to wait."""
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class UpstreamUnreachable(UpstreamFailed):
    """Connecting failed, or the connection was lost before a response."""

    code = "upstream_unreachable"
    default = "The application behind this gate can't be reached. Try again in a moment."


class UpstreamBusy(Unavailable):
    """All allowed connections to the upstream are in use."""

    code = "upstream_busy"
    default = "All connections to the application are in use. Try again in a moment."


class TooManyOpenFiles(Unavailable):
    """The process has run out of descriptors, ports or memory for connections."""

    code = "too_many_open_files"


class PluginRefused(Unavailable):
    """A plugin that protects this request has failed, so the request was not sent."""

    code = "plugin_failed"
    default = "This request can't be checked at present. Try again in a moment."


class PluginPageFailed(GateError):
    """The handler of a plugin's page raised, took too long, or returned an invalid response."""

    code = "plugin_page_failed"


class UpstreamTimeout(GateError):
    """The upstream exceeded a timeout."""

    status = 504
    code = "upstream_timeout"
    default = "The application behind this gate took too long to respond. Try again in a moment."

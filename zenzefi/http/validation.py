"""Requests that two servers could parse differently are rejected first.

Each rejection quotes the rule it follows. aiohttp's parser has already rejected malformed framing
(repeated or malformed Content-Length, Content-Length with Transfer-Encoding, obs-fold, control
characters in fields). The remaining rules are checked here, once, for every path of the gate.
"""

from __future__ import annotations

import re

from aiohttp import web
from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.typedefs import Handler
from multidict import CIMultiDictProxy

from zenzefi.errors import GateError, MethodRefused
from zenzefi.http.cookie_reset import COOKIE_RESET_PATHS
from zenzefi.http.errors import AmbiguousRequest, ExpectationFailed
from zenzefi.http.expect_continue import expectation_of
from zenzefi.http.head_limits import HeadersTooLarge
from zenzefi.http.request_stream import RequestStream
from zenzefi.http.target import Target, check_path, split_target
from zenzefi.origin import DEVICE_HEADER, TOKEN_HEADER

TARGET = web.RequestKey("target", Target)
"""The checked raw target, which all later middlewares and handlers use."""

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_ONCE = (TOKEN_HEADER, DEVICE_HEADER, "Authorization", "Content-Length", "Host", "Upgrade")
# RFC 9110 section 7.2 / RFC 3986 section 3.2.2: reg-name, IPv4 or bracketed IPv6, and a port.
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?")


def check(request: web.BaseRequest) -> Target:
    """The raw target of an unambiguous request.

    Raises :class:`AmbiguousRequest` (400), :class:`MethodRefused` (405),
    :class:`~zenzefi.http.head_limits.UriTooLong` (414), :class:`ExpectationFailed` (417) or
    :class:`~zenzefi.http.head_limits.HeadersTooLarge` (431).
    """
    headers = request.headers
    # RFC 9112, 2.3: this server supports HTTP/1.0 and HTTP/1.1 only.
    version = request._message.version
    if version not in (HttpVersion11, HttpVersion10):
        raise AmbiguousRequest("Only HTTP/1.0 and HTTP/1.1 are supported (RFC 9112, 2.3).")
    _check_size(request)
    # RFC 9110, 9.3.8: TRACE would echo the token; 9.3.6: CONNECT is for forward proxies.
    if request.method in ("TRACE", "CONNECT"):
        raise MethodRefused(_METHODS)
    if len({name.lower() for name in headers}) < len(headers):
        _check_repeated(headers)
    host = headers.get("Host")
    if host is not None and not _HOST.fullmatch(host):
        raise AmbiguousRequest("The Host header is malformed (RFC 9110, 7.2).")
    coding = headers.getall("Transfer-Encoding", ())
    if coding:
        _check_coding(request, coding)
    if "Upgrade" in headers and (coding or headers.get("Content-Length", "0") != "0"):
        # RFC 9110, 7.8 permits a body, but where it ends and the new protocol begins is ambiguous
        # (request smuggling). Browsers never send one.
        raise AmbiguousRequest("An upgrade must not carry a body (RFC 9110, 7.8).")
    expect = expectation_of(request)
    if expect is not None and expect.strip().lower() != "100-continue":
        # RFC 9110, 10.1.1: the only expectation that is defined.
        raise ExpectationFailed
    if request.method == "OPTIONS" and request.raw_path == "*":
        return Target("*")
    target = split_target(request.raw_path, host)
    check_path(target.path)
    return target


def _check_repeated(headers: CIMultiDictProxy[str]) -> None:
    for name in _ONCE:
        # RFC 9110, 5.3: these headers are not lists, so a second line has no defined meaning.
        if len(headers.getall(name, ())) > 1:
            raise AmbiguousRequest(f"{name} was sent more than once (RFC 9110, 5.3).")


def _check_size(request: web.BaseRequest) -> None:
    handler = request.protocol
    problem = handler.head_problem if isinstance(handler, RequestStream) else None
    if problem is None:
        return
    # The path that removes the cookies has to work with too many of them.
    if isinstance(problem, HeadersTooLarge) and request.raw_path in COOKIE_RESET_PATHS:
        return
    raise problem


def _check_coding(request: web.BaseRequest, coding: list[str]) -> None:
    # RFC 9112, 6.1: chunked is the only supported coding, and may occur only once.
    if len(coding) != 1 or coding[0].strip(" \t").lower() != "chunked":
        raise AmbiguousRequest("Transfer-Encoding must be just chunked (RFC 9112, 6.1).")
    if request._message.version == HttpVersion10:
        raise AmbiguousRequest("HTTP/1.0 has no Transfer-Encoding (RFC 9112, 6.1).")
    if "Content-Length" in request.headers:
        raise AmbiguousRequest(
            "Content-Length and Transfer-Encoding exclude each other (RFC 9112, 6.2)."
        )


def _is_ignored_upgrade(request: web.BaseRequest) -> bool:
    """Whether the request asks for an unsupported protocol (``h2c``, say), which is ignored.

    RFC 9110, 7.8 permits that. But the parser stops after such a request and drops the bytes that
    arrived with it, so the connection must end with this response.
    """
    return request._message.upgrade and request.headers.get("Upgrade", "").lower() != "websocket"


@web.middleware
async def validation_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Reject ambiguous requests; follows the error mapping."""
    try:
        request[TARGET] = check(request)
        if _is_ignored_upgrade(request):
            request._message = request._message._replace(should_close=True)
    except GateError as error:
        # The next request on this connection can't be delimited safely (RFC 9112, 9.3).
        if request._message.version not in (HttpVersion11, HttpVersion10):
            request._version = HttpVersion10  # respond in a version that exists
        error.headers["Connection"] = "close"
        request.protocol.close()
        raise
    return await handler(request)

"""A known request: the facts of an admitted request, and its head for the upstream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from aiohttp.http import HttpVersion11

from zenzefi.http.error_responses import is_event_source
from zenzefi.http.expect_continue import expectation_of
from zenzefi.origin import PROXY_PREFIX
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.proxy_request import EngineRequest, ProxyRequest
from zenzefi.proxy.upstream.connection_auth import has_credentials
from zenzefi.proxy.upstream.response_head import HeadReader
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.open_connections import ClientIdentity

Hook = Callable[[EngineRequest, Pairs], Pairs]
"""Changes the headers of a request for the upstream."""
_WITH_CONTENT = frozenset((b"POST", b"PUT", b"PATCH"))


def header_lines(pairs: Pairs) -> bytes:
    """Header lines as bytes."""
    return b"".join([b"%b: %b\r\n" % pair for pair in pairs])


@dataclass(slots=True)
class KnownRequest:
    """The facts of a request, or of all requests with one header block.

    The fields up to ``for_engine`` describe any admitted request, the others a header block.
    """

    access: TokenAccess
    token: str
    device_id: str | None
    address: str
    """The address of the client."""
    agent: str
    is_behind_proxy: bool
    sign_in: UUID | None
    secret: str | None
    """The secret of the proxy cookie, for requests that sent one."""
    scheme: str
    keep_alive: bool
    is_http_10: bool
    has_content: bool
    expects_continue: bool
    has_derived_tag: bool
    """Whether the client revalidates a rewritten body, so that the engine maps a 304."""
    is_long_lived: bool
    """Of an ``EventSource``, or the handshake of a WebSocket."""
    is_authenticating: bool
    """Carries credentials for its connection (:mod:`zenzefi.proxy.upstream.connection_auth`)."""
    head_table: HeadReader
    for_engine: EngineRequest
    """The first request with these headers; method and target differ per request."""
    before: bytes = b""
    """The request for the upstream from its target to its request ID."""
    after: bytes = b""
    """The rest of the head, without what frames the content."""
    remote: str = ""
    """The address of the peer, which may be a trusted proxy."""
    is_own_origin: bool = False
    overrides: tuple[str, ...] = ()
    """Methods that the scope must cover in addition to the request's, for each path."""
    request_id: bytes | None = None
    """The client's own request ID; ``None``: each request gets a new one."""
    is_for_one_target: bool = False
    """Whether the head depends on the method and the target, so that it is not remembered."""
    pairs: Pairs | None = None
    """The headers for the upstream before a plugin's hook; ``None`` without such a hook."""
    unreported_requests: int = 0
    """Requests not yet reported to :class:`~zenzefi.proxy.interfaces.SessionTracking`."""
    unreported_received: int = 0
    """Bytes of their contents."""
    unreported_sent: int = 0
    """Bytes of the bodies of their responses."""

    @classmethod
    def of(
        cls,
        proxied: ProxyRequest,
        for_engine: EngineRequest,
        head_table: HeadReader,
        *,
        may_authenticate: bool,
    ) -> KnownRequest:
        """The description of one admitted request.

        ``may_authenticate``: the client's own credentials are sent to the upstream.
        """
        request, headers = proxied.request, proxied.request.headers
        is_http_10 = request.version < HttpVersion11
        has_content = request.body_exists
        return cls(
            access=proxied.access,
            token=proxied.token,
            device_id=proxied.device_id,
            address=proxied.identity.client,
            agent=headers.get("User-Agent", ""),
            is_behind_proxy=proxied.is_behind_proxy,
            sign_in=proxied.sign_in,
            secret=proxied.sign_in_secret,
            scheme=request.scheme,
            keep_alive=bool(request.keep_alive),
            is_http_10=is_http_10,
            has_content=has_content,
            expects_continue=has_content and not is_http_10 and expectation_of(request) is not None,
            has_derived_tag="~z" in ",".join(headers.getall("If-None-Match", ())),
            is_long_lived=is_event_source(request) or proxied.is_websocket,
            is_authenticating=may_authenticate and has_credentials(request._message.raw_headers),
            head_table=head_table,
            for_engine=for_engine,
        )

    @property
    def identity(self) -> ClientIdentity:
        """The client that uses the token."""
        return ClientIdentity(self.device_id, self.address, self.agent, self.sign_in)

    def path(self, target: bytes) -> str:
        """The path of a request as the client sent it; ``target``: of the upstream."""
        path = target.partition(b"?")[0].decode()
        return path if self.is_own_origin else PROXY_PREFIX + path

    def hooked(self, request: EngineRequest, request_id: bytes, hook: Hook) -> bytes | None:
        """The headers for the upstream after ``hook``; ``None``: nothing calls it."""
        if self.pairs is None:
            return None
        named = [
            (name, request_id if name == b"X-Request-ID" else value) for name, value in self.pairs
        ]
        return header_lines(hook(request, named))

    def head(
        self,
        method: bytes,
        target: bytes,
        request_id: bytes,
        length: int | None,
        traceparent: str | None = None,
        hooked: bytes | None = None,
    ) -> bytes:
        """The head for the upstream.

        ``length``: bytes of the content, ``None`` if chunked; ``hooked``: see :meth:`hooked`.
        """
        if not self.has_content:
            # RFC 9110, 8.6: methods that anticipate content say that there is none.
            framing = b"Content-Length: 0\r\n\r\n" if method in _WITH_CONTENT else b"\r\n"
        else:
            framing = (
                b"Transfer-Encoding: chunked\r\n"
                if length is None
                else b"Content-Length: %d\r\n" % length
            )
            framing += b"Expect: 100-continue\r\n\r\n" if self.expects_continue else b"\r\n"
        if traceparent is not None:
            framing = b"traceparent: %b\r\n%b" % (traceparent.encode(), framing)
        if hooked is not None:
            return b"%b %b HTTP/1.1\r\n%b%b" % (method, target, hooked, framing)
        return b"%b %b%b%b%b%b" % (method, target, self.before, request_id, self.after, framing)

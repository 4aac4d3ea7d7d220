"""One known request: the result of admitting a header block, and the requests made from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar
from uuid import UUID

from zenzefi.origin import PROXY_PREFIX
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.proxy_request import EngineRequest
from zenzefi.proxy.upstream.response_head import HeadReader
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.open_connections import ClientIdentity

Hook = Callable[[EngineRequest, Pairs], Pairs]
"""Changes the headers of a request for the upstream."""
_WITH_CONTENT = frozenset((b"POST", b"PUT", b"PATCH"))


def header_lines(pairs: Pairs) -> bytes:
    """Header lines as bytes."""
    return b"".join(b"%b: %b\r\n" % pair for pair in pairs)


@dataclass(slots=True)
class KnownRequest:
    """The result of admitting one header block from one address."""

    access: TokenAccess
    token: str
    device_id: str | None
    remote: str
    """The address of the peer, which may be a trusted proxy."""
    address: str
    """The address of the client."""
    agent: str
    is_behind_proxy: bool
    sign_in: UUID | None
    secret: str | None
    """The secret of the proxy cookie, for requests that sent one."""
    is_own_origin: bool
    overrides: tuple[str, ...]
    """Methods that the scope must cover in addition to the request's, for each path."""
    has_content: bool
    expects_continue: bool
    keep_alive: bool
    request_id: bytes | None
    """The client's own request ID; ``None``: each request gets a new one."""
    before: bytes
    """The request for the upstream from its target to its request ID."""
    after: bytes
    """The rest of the head, without what frames the content."""
    is_for_one_target: bool
    """Whether the head depends on the method and the target, so that it is not remembered."""
    head_table: HeadReader
    pairs: Pairs | None
    """The headers for the upstream before a plugin's hook; ``None`` without such a hook."""
    for_engine: EngineRequest
    """The first request with these headers; method and target differ per request."""
    scheme: str
    has_derived_tag: bool
    """Whether the client revalidates a rewritten body, so that the engine maps a 304."""
    is_http_10: ClassVar[bool] = False
    unreported_requests: int = 0
    """Requests not yet reported to :class:`~zenzefi.proxy.interfaces.SessionTracking`."""
    unreported_received: int = 0
    """Bytes of their contents."""
    unreported_sent: int = 0
    """Bytes of the bodies of their responses."""

    @property
    def identity(self) -> ClientIdentity:
        """The client that uses the token."""
        return ClientIdentity(self.device_id, self.address, self.agent, self.sign_in)

    def path(self, target: bytes) -> str:
        """The path of a request as the client sent it; ``target``: of the upstream."""
        path = target.partition(b"?")[0].decode()
        return path if self.is_own_origin else PROXY_PREFIX + path

    def hooked(self, request: EngineRequest, request_id: bytes, hook: Hook) -> KnownRequest:
        """This request after ``hook``, which may change its headers."""
        if self.pairs is None:
            return self
        named = [
            (name, request_id if name == b"X-Request-ID" else value) for name, value in self.pairs
        ]
        lines = header_lines(hook(request, named))
        return replace(self, before=b" HTTP/1.1\r\n" + lines, after=b"")

    def head(
        self,
        method: bytes,
        target: bytes,
        request_id: bytes,
        length: int | None,
        traceparent: str | None = None,
    ) -> bytes:
        """The head for the upstream; ``length``: bytes of the content, ``None`` if chunked."""
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
        return b"%b %b%b%b%b%b" % (method, target, self.before, request_id, self.after, framing)

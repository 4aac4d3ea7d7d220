"""The proxy's view of the rewriting engine, as protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from zenzefi.errors import GateError
from zenzefi.http.target import Target
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.proxy_request import EngineRequest
from zenzefi.proxy.upstream.response_head import PlainHead
from zenzefi.rewriting.origin_search import OriginSearch
from zenzefi.rewriting.plugins.messages import Direction, SocketLink


class BodyTransform(Protocol):
    """A body on its way through the rewriting engine (``zenzefi.rewriting.body``)."""

    heavy: bool

    @property
    def withholds(self) -> bool:
        """Whether input has arrived, but no output left yet."""

    def release(self) -> bytes:
        """The withheld output, where it waits only for a decision about the body."""

    def slices(self, data: bytes) -> Iterator[bytes]:
        """The output after ``data``, in pieces of bounded work; some are empty."""

    def finish(self) -> bytes:
        """The remaining output at the end of the body."""


class MappedResponse(NamedTuple):
    """The decision of the engine: the head to send, and how the body is changed (if at all)."""

    headers: Pairs
    length: int | None
    rewrite: BodyTransform | None = None
    status: int | None = None
    """The status that a plugin has set, ``None`` for the upstream's."""
    again: Callable[[], BodyTransform] | None = None
    """Begins the change of the next body whose head is equal, after an equal request, and which
    gets the same headers; ``None``: each response must be mapped."""
    unless_found: UnchangedUnlessFound | None = None
    """Set if the body is searched first; then the rest is for a body that passes unchanged."""


class UnchangedUnlessFound(NamedTuple):
    """A body that passes unchanged if ``search`` finds nothing in it."""

    search: OriginSearch
    coding: str
    """The Content-Encoding, ``""`` for none."""
    otherwise: Callable[[], MappedResponse]
    """The response if the body is not complete in time, or has a mention."""

    def finds(self, body: bytes) -> bool:
        """Whether a whole body must be rewritten."""
        return self.search.finds(body, self.coding)


Answer = tuple[int, MappedResponse, bytes]
"""A response of a plugin: its status, its head, its body."""


class ReadableContent(Protocol):
    """The content of a request that plugins read before it is sent."""

    length: int | None
    """Bytes, or ``None`` if it is chunked."""

    def invite(self) -> None:
        """Send 100 Continue to a client that waits for it."""

    async def read(self) -> bytes:
        """The next piece, ``b""`` at the end; raises a :class:`GateError` if it is truncated."""


@dataclass(frozen=True, slots=True)
class ReadContent:
    """What plugins have read of a content, and do with the rest."""

    data: bytes = b""
    """The beginning of the content, as the plugins left it."""
    size: int = 0
    """Bytes of it, as the client sent it."""
    has_begun: bool = False
    """Whether the client was asked for its content."""
    is_whole: bool = False
    transform: Callable[[bytes, bool], bytes] | None = None
    """Changes a piece of the rest; its second argument tells whether it is the last one."""
    changes_length: bool = False


@dataclass(frozen=True, slots=True)
class PluginRequest:
    """A request after the hooks of its plugins, or the response instead of it."""

    target: Target
    headers: Pairs
    read: ReadContent = field(default_factory=ReadContent)
    answer: Answer | None = None


class SocketPlugins(Protocol):
    """The plugins of one WebSocket (``zenzefi.rewriting.plugins.socket_hooks``)."""

    def opened(self, link: SocketLink) -> None:
        """The handshake is done."""

    def message(self, direction: Direction, data: str | bytes) -> str | bytes | None:
        """A message after the plugins; ``None`` drops it."""

    def closed(self, code: int | None) -> None:
        """The WebSocket has ended."""


class ResponseHead(Protocol):
    """The head of a response, as far as its mapping depends on it."""

    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> bytes: ...
    @property
    def headers(self) -> Pairs: ...
    @property
    def length(self) -> int | None: ...
    @property
    def has_body(self) -> bool: ...


class MappedHead:
    """The head of a response, read as pairs; a :class:`ResponseHead`."""

    def __init__(self, plain: PlainHead, *, has_body: bool) -> None:
        self.status = plain.status
        self.reason = plain.reason
        self.headers = plain.headers
        self.length = plain.length if plain.length >= 0 else None
        self.has_body = has_body


class Rewriter(Protocol):
    """The proxy's view of the engine (:class:`zenzefi.proxy.rewriting_adapter.EngineRewriter`)."""

    def early(self, request: EngineRequest) -> Answer | None:
        """A plugin's response instead of the upstream's, for requests without a task."""

    def is_anonymous_page(self, method: str, path: str) -> bool:
        """Whether a page or file of a plugin needs no access token."""

    async def page(self, request: EngineRequest, content: ReadableContent | None) -> Answer:
        """The response of a plugin's own page or file. Raises a :class:`GateError`."""

    def needs_task(self, request: EngineRequest) -> bool:
        """Whether a plugin has hooks for this request that only a task can call."""

    async def through_plugins(
        self,
        request: EngineRequest,
        target: Target,
        headers: Pairs,
        content: ReadableContent | None,
    ) -> PluginRequest:
        """The request after its plugins' hooks.

        Raises a :class:`GateError` if it is refused.
        """

    def instead_of_error(self, request: EngineRequest, error: GateError) -> Answer | None:
        """A plugin's response to a request that the upstream did not respond to."""

    def request(self, request: EngineRequest, headers: Pairs) -> Pairs:
        """The request's headers as the engine needs them (validators, ranges, codings)."""

    def interim(self, request: EngineRequest, status: int, headers: Pairs) -> Pairs:
        """The headers of a 1xx response (browsers fetch the Link of 103 Early Hints)."""

    def socket(self, request: EngineRequest) -> SocketPlugins | None:
        """The plugins of a WebSocket; ``None`` if there are none: then frames pass raw."""

    def must_refetch(self, request: EngineRequest, response: ResponseHead) -> bool:
        """Whether the response is a part of a body that must be rewritten as a whole."""

    def response(
        self, request: EngineRequest, response: ResponseHead, headers: Pairs
    ) -> MappedResponse:
        """``headers`` went through the header table; URL-valued ones are the engine's."""

"""The types of the plugin API, public as :mod:`zenzefi.plugins`.

A plugin declares the responses that it ``matches`` and the data that it ``needs``. The engine
passes it exactly that and applies the edits that it returns. Bytes that no edit covers pass
unchanged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from multidict import CIMultiDict
from pydantic import BaseModel

from zenzefi.origin import Mount
from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.html.text_nodes import TextNode
from zenzefi.rewriting.plugins.client import Client, HeaderView
from zenzefi.rewriting.plugins.exchange import Context, Exchange
from zenzefi.rewriting.plugins.messages import (
    OutgoingRequest,
    OutgoingResponse,
    Socket,
    UpstreamError,
)
from zenzefi.rewriting.plugins.route_values import (
    PLUGIN_PATH,
    STATIC,
    Route,
    RouteRequest,
    StaticFiles,
    route,
)
from zenzefi.rewriting.plugins.services import HttpAnswer, LookupCache, PluginServices
from zenzefi.rewriting.plugins.values import (
    EarlyResponse,
    JsonValue,
    Match,
    Message,
    Needs,
    PluginOptions,
    Response,
    TextEdit,
    Token,
)
from zenzefi.rewriting.scanner import Scanner

__all__ = [
    "HOOKS",
    "Client",
    "Context",
    "EarlyResponse",
    "Exchange",
    "HeaderView",
    "HttpAnswer",
    "JsonValue",
    "LookupCache",
    "Match",
    "Message",
    "Needs",
    "OutgoingRequest",
    "OutgoingResponse",
    "Plugin",
    "PluginOptions",
    "PluginServices",
    "Response",
    "Route",
    "RouteRequest",
    "Socket",
    "StaticFiles",
    "TextEdit",
    "TextNode",
    "Token",
    "UpstreamError",
    "route",
]


class Plugin:
    """Base of every plugin: set the class attributes, override the hooks you need.

    One instance serves all requests of a process, so keep the data of one request in
    ``exchange.state``. Hooks run on the event loop and must not block; those of the request side
    may be ``async``. If a hook raises or returns an invalid result, the failure is counted and
    logged under the plugin's name, and the original passes, unless ``on_failure`` says otherwise.
    """

    name: ClassVar[str]
    """Lower-case letters, digits, ``-`` and ``_``; unique."""
    matches: ClassVar[Match] = Match()
    """The responses that it processes; all by default."""
    needs: ClassVar[Needs] = Needs.HEADERS
    """The form in which it gets the body."""
    phase: ClassVar[Literal["before", "mapping", "after"] | None] = None
    """When it gets the body: ``before`` addresses are mapped (the default), so that those which it
    puts in are mapped too; with the gate's own plugins for the ``mapping``; or ``after`` it, when
    it sees what the browser gets. Within a phase, ``before`` and ``after`` decide."""
    attachments: ClassVar[bool] = False
    """Whether it gets files to save (``Content-Disposition: attachment``), which usually pass
    unchanged. ``Cache-Control: no-transform`` holds in any case."""
    before: ClassVar[tuple[str, ...]] = ()
    """Names of plugins that run after this one (absent ones are ignored). Plugins that name no
    others run in the order of their names."""
    after: ClassVar[tuple[str, ...]] = ()
    """Names of plugins that run before this one (absent ones are ignored)."""
    enabled: ClassVar[bool] = True
    """Whether it is enabled by default; ``enabled`` in ``PLUGIN_OPTIONS`` has precedence."""
    varies: ClassVar[tuple[str, ...]] = ()
    """Request headers on which the result depends; added to ``Vary`` of rewritten responses, and
    part of the ETag. ``*``: depends on something else, so no result is reused. A plugin without a
    hook for bodies adds to ``Vary`` itself, in ``response()``."""
    on_failure: ClassVar[Literal["pass", "refuse"]] = "pass"
    """If a hook of the request side fails, is interrupted or is suspended: ``pass`` sends the
    request without it, ``refuse`` responds with 503. For plugins that protect something."""
    timeout: ClassVar[float] = 5.0
    """Seconds that an ``async`` hook may take; after that it has failed."""
    longest_body: ClassVar[int] = 1024 * 1024
    """Bytes of the longest content for ``request_body()``. A longer one passes without the hook
    (``request_chunk()`` may take it), or with ``on_failure = "refuse"`` gets 413."""
    changes_length: bool = False
    """Whether ``request_chunk()`` may return another number of bytes. The content is then sent in
    chunks, which some servers do not accept, unless ``request_body()`` got the whole of it."""
    request_types: tuple[str, ...] = ()
    """The types (or globs) of the contents that ``request_body()`` and ``request_chunk()`` read;
    all by default. Other contents are not held back. ``__init__()`` may set it from options."""
    messages: ClassVar[bool] = False
    """First edition: whether it gets WebSocket messages. Now the hooks for sockets tell it. Frames
    are then parsed instead of relayed raw."""
    tags: ClassVar[tuple[str, ...]] = ()
    """``needs = "tokens"``: the elements whose tags it gets (``body``; ``/body`` for end tags).
    All other content is then skipped at full speed. Empty: every tag, comment and text run."""
    _reads_spellings: ClassVar[bool] = False
    """Whether it recognises the upstream's host in every spelling of markup, not only the plain
    one (:meth:`_edits_mentions_only`)."""
    _reads_words: ClassVar[tuple[bytes, ...]] = ()
    """Words in lower case: a body with one of them may have an edit without a mention."""
    static: ClassVar[StaticFiles | None] = None
    """A folder of files that it serves under its own path, below ``static/``."""
    _tags: Mapping[str, str] = MappingProxyType({})
    """The versions of these files, by name."""
    version: ClassVar[str] = "1"
    """Change it when the output changes: validators and caches depend on it."""

    Options: ClassVar[type[BaseModel]] = PluginOptions
    """A pydantic model; ``PLUGIN_OPTIONS[name]`` is validated against it at start."""

    def __init__(self, options: BaseModel) -> None:
        self.options = options

    def address(self, path: str = "/") -> str:
        """The address at the application of one of its pages or files, such as ``/static/x.css``.

        The gate maps it like all addresses of the application. That of a file names its version,
        so that browsers may keep it.
        """
        tag = self._tags.get(path.removeprefix(f"/{STATIC}/"), "")
        return f"{PLUGIN_PATH}{self.name}{path}{'?v=' if tag else ''}{tag}"

    # --- the process

    def startup(self, services: PluginServices) -> Awaitable[None] | None:
        """Called before the first request, and after a reload. May be ``async``, for 30 seconds.

        If it raises, the plugin is left out until a later start succeeds; with
        ``on_failure = "refuse"`` its requests get 503 until then.
        """

    def shutdown(self) -> Awaitable[None] | None:
        """Called after the last request, or when a reload replaces it. May be ``async``."""

    # --- the request

    def request(
        self, exchange: Exchange, request: OutgoingRequest
    ) -> Response | Awaitable[Response | None] | None:
        """Change the request before it goes to the upstream, or return a response instead.

        Called once, after the access token, scope and device were checked, also for the opening of
        a WebSocket. May be ``async``.
        """

    def request_body(
        self, exchange: Exchange, body: bytes
    ) -> bytes | Response | Awaitable[bytes | Response | None] | None:
        """Read or replace a whole content of at most ``longest_body`` bytes, before it is sent.

        Return the new content, a response instead of the upstream's, or ``None`` for no change.
        May be ``async``. The content is as it was sent, with its ``Content-Encoding``.
        """

    def request_chunk(self, exchange: Exchange, data: bytes, final: bool) -> bytes | None:
        """Read or replace a piece of a content on its way; ``final``: the last one, may be empty.

        Return the new bytes, or ``None`` for no change. Another number of bytes needs
        ``changes_length = True``.
        """

    def request_headers(self, context: Context, headers: CIMultiDict[str]) -> None:
        """Change the request's headers in place, before they go to the upstream.

        Cheaper than ``request()``, which needs a task. Not called for WebSockets.
        """

    def early_response(self, context: Context) -> EarlyResponse | None:
        """Return a response instead of the upstream's, or ``None``.

        Cheaper than ``request()``, which needs a task, and which is able to wait. Called before all
        other hooks of the request.
        """

    # --- the response

    def response(self, exchange: Exchange, response: OutgoingResponse) -> None:
        """Change the status or the headers of a response, in place.

        Await results in ``request()`` and keep them in ``exchange.state``.
        """

    def response_headers(self, context: Context, headers: CIMultiDict[str]) -> None:
        """Change the response's headers in place. ``response()`` can change its status, too.

        The gate has mapped them before; headers that are added are mapped afterwards.
        """

    def upstream_error(self, exchange: Exchange, error: UpstreamError) -> Response | None:
        """Return a response for a request that the upstream did not respond to, or ``None``."""

    # --- WebSockets

    def websocket_open(self, socket: Socket) -> None:
        """A WebSocket was opened. ``request()`` could have refused it."""

    def websocket_message(self, context: Socket, message: Message) -> str | bytes | None:
        """Process a whole WebSocket message.

        Return the data to forward: ``message.data`` to pass it unchanged, ``None`` to drop it.
        """
        return message.data

    def websocket_close(self, socket: Socket, code: int | None) -> None:
        """A WebSocket has ended. ``code``: of the first close frame, ``None`` without one."""

    # --- the body of the response

    def applies(self, context: Context) -> bool:
        """Whether to process this body, for conditions that ``matches`` can't express."""
        return True

    def _works(self, *, is_root: bool, destination: str | None) -> bool:
        """Whether the plugin may edit any body at root mounts, or at others.

        If not, bodies that no other plugin processes keep their validators. The engine calls this
        for bundled plugins only.
        """
        return True

    def _edits_mentions_only(self, mount: Mount, destination: str | None) -> bool:
        """Whether every edit is at a mention of one of the upstream's origins.

        A body without one then passes with its own validators, and no hook is called for it. The
        engine calls this for bundled plugins only.
        """
        return False

    def _varies(self, mount: Mount, destination: str | None) -> tuple[str, ...]:
        """The part of ``varies`` on which a response for this destination depends.

        ``destination`` is ``Sec-Fetch-Dest``, or ``None``. Bundled plugins narrow it: browsers
        fetch again, and service workers find nothing in their cache, where a response varies.
        """
        return self.varies

    def scanner(self, context: Context) -> Scanner | None:
        """``needs = "chunks"``: return a new scanner for this body, or ``None`` to skip it."""
        return None

    def token(self, context: Context, token: Token) -> Iterable[Edit] | Edit | None:
        """``needs = "tokens"``: return edits made by the token's methods, or ``None``."""

    def text_node(self, exchange: Exchange, node: TextNode) -> Iterable[Edit] | Edit | None:
        """``needs = "text_nodes"``: return edits made by the node's methods, or ``None``.

        A text of up to 64 KiB is passed when its end has arrived, so that nothing in it is cut,
        wherever the upstream's writes end. A longer one comes in parts (``is_whole``). Scripts,
        styles, ``xmp``, ``plaintext`` and CDATA sections are not passed.
        """

    def text(self, context: Context, text: str) -> Iterable[TextEdit] | None:
        """``needs = "text"``: return edits over the whole body, or ``None``."""

    def json_value(self, context: Context, value: JsonValue) -> Edit | None:
        """``needs = "json"``: return ``value.replace(...)``, or ``None`` to keep it."""

    def document(self, context: Context, soup: Any) -> None:
        """``needs = "document"``: change the :class:`bs4.BeautifulSoup` tree in place.

        The tree has the upstream's view of the page, so that added links are mapped like all
        others, unless ``phase`` is ``after``.
        """


HOOKS = (
    "startup",
    "shutdown",
    "request",
    "request_body",
    "request_chunk",
    "request_headers",
    "early_response",
    "response",
    "response_headers",
    "upstream_error",
    "websocket_open",
    "websocket_message",
    "websocket_close",
    "applies",
    "scanner",
    "token",
    "text_node",
    "text",
    "json_value",
    "document",
)
"""Every hook, in the order in which the reference describes them."""

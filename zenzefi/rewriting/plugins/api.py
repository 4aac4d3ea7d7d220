"""What a plugin is: the types behind the public module :mod:`zenzefi.plugins`.

A plugin says what it ``matches`` and what it ``needs``; the engine hands it just that and takes
edits back. Whatever no edit covers leaves the gate byte for byte as it came.
"""

from __future__ import annotations

import enum
import fnmatch
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from multidict import CIMultiDict, CIMultiDictProxy
from pydantic import BaseModel, ConfigDict

from zenzefi.origin import Mount, Origin
from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.runtime.marks import NO_KEY
from zenzefi.rewriting.scanner import Scanner
from zenzefi.rewriting.url_map import UrlMap


class TextEdit(NamedTuple):
    """The same in characters, for plugins that need ``text``."""

    start: int
    end: int
    new: str


class Needs(enum.StrEnum):
    """How much of a body a plugin wants to see, from cheap to dear."""

    HEADERS = "headers"
    """No body at all: only header, message and early-response hooks."""
    CHUNKS = "chunks"
    """A streaming :class:`Scanner` over the decoded bytes."""
    TOKENS = "tokens"
    """HTML tags, comments and text runs, streamed, one :class:`Token` at a time."""
    TEXT = "text"
    """The whole body as a string (bounded; longer bodies pass untouched)."""
    JSON = "json"
    """Every value of a JSON body with its path, streamed."""
    DOCUMENT = "document"
    """A BeautifulSoup tree (lxml) of the whole page: comfortable and slow."""


class PluginOptions(BaseModel):
    """Base of a plugin's options: an unknown key is a mistake and is reported at start."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which responses a plugin wants. Every criterion that is given must hold.

    ``content_types`` are essences (``text/html``) or globs (``*/*+json``), compared in lower case
    with the *effective* type: what a browser would take the body for, see
    :mod:`zenzefi.rewriting.sniff`. ``paths`` are globs over the upstream's path (``*`` crosses
    slashes). ``status`` lists status codes. ``destinations`` lists ``Sec-Fetch-Dest`` values; a
    request that says none matches any.
    """

    content_types: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    status: tuple[int, ...] = ()
    destinations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ``TypeError`` for what would match by its letters: ``paths="/shop/*"``."""
        for name in ("content_types", "paths", "status", "destinations"):
            value: object = getattr(self, name)
            kind = int if name == "status" else str
            if not isinstance(value, tuple) or not all(isinstance(v, kind) for v in value):
                example = "(404,)" if kind is int else '("...",)'
                raise TypeError(f"Match.{name} is {value!r}; it is a tuple, like {example}")

    def content_type(self, essence: str) -> bool:
        """Whether a body of this type may concern the plugin."""
        return not self.content_types or _glob(self.content_types).match(essence) is not None

    def request(self, path: str, status: int, destination: str | None) -> bool:
        """Whether path, status and destination fit."""
        if self.status and status not in self.status:
            return False
        if self.destinations and destination is not None and destination not in self.destinations:
            return False
        return not self.paths or _glob(self.paths).match(path) is not None


_globs: dict[tuple[str, ...], re.Pattern[str]] = {}


def _glob(patterns: tuple[str, ...]) -> re.Pattern[str]:
    found = _globs.get(patterns)
    if found is None:  # keyed by class-level constants, so it stays as small as the plugin set
        found = _globs[patterns] = re.compile("|".join(map(fnmatch.translate, patterns)))
    return found


@dataclass(slots=True, kw_only=True, eq=False)
class Context:
    """One exchange as a plugin sees it. ``state`` is the plugin's own, for this body only."""

    method: str
    url: str
    """The document's absolute URL at the upstream."""
    path: str
    """Its raw path, without the query."""
    status: int
    destination: str | None
    """``Sec-Fetch-Dest``: ``document``, ``script``, ``empty``...; ``None`` when not said."""
    content_type: str
    """The effective essence in lower case; ``""`` where there is none."""
    charset: str
    """The body's encoding as Python spells it; what plugins are handed is already decoded
    from UTF-16 (to UTF-8), and any other encoding is ASCII-compatible bytes."""
    mount: Mount
    mapper: UrlMap
    request_headers: CIMultiDictProxy[str]
    response_headers: CIMultiDictProxy[str]
    script_nonce: str | None = None
    """The nonce that lets a script of the gate through the page's Content-Security-Policy;
    ``None`` where the policy needs none."""
    scripts_allowed: bool = True
    """False where the page's Content-Security-Policy lets no script at all run."""
    marks_key: str = NO_KEY
    """The gate's key for :func:`zenzefi.rewriting.runtime.runtime_tag`."""
    state: dict[str, Any] = field(default_factory=dict)

    def map(self, url: str, document_url: str | None = None) -> str:
        """The URL that the browser must use for ``url`` (relative to the document's URL).

        Returns the very input when nothing needs to change.
        """
        return self.mapper.map(url, document_url or self.url)

    @property
    def upstream(self) -> Origin:
        """The upstream's own origin."""
        return self.mapper.upstream

    @property
    def origins(self) -> frozenset[Origin]:
        """The upstream's origin and its declared aliases."""
        return self.mapper.origins


@runtime_checkable
class Token(Protocol):
    """One piece of an HTML document (``needs = "tokens"``).

    ``kind`` is ``start``, ``end``, ``text``, ``comment`` or ``doctype``. For tags ``name`` is in
    lower case and ``attributes`` holds decoded values by lower-case name (the first of repeated
    ones, as browsers do). ``raw`` is the source.
    """

    @property
    def kind(self) -> Literal["start", "end", "text", "comment", "doctype"]: ...
    @property
    def name(self) -> str: ...
    @property
    def attributes(self) -> Mapping[str, str]: ...
    @property
    def raw(self) -> bytes: ...

    def before(self, html: bytes) -> Edit:
        """Insert in front of it."""

    def after(self, html: bytes) -> Edit:
        """Insert behind it."""

    def replace(self, html: bytes) -> Edit:
        """Put something in its place."""

    def set(self, attribute: str, value: str) -> Edit:
        """Set an attribute of a start tag; quotes and escapes the value."""


@dataclass(frozen=True, slots=True)
class JsonValue:
    """One value of a JSON body (``needs = "json"``).

    ``path`` has object keys and array indexes from the root; ``raw`` is the source text of the
    value, without white space around it. Objects and arrays are announced by their members only.
    """

    path: tuple[str | int, ...]
    raw: bytes
    start: int

    @property
    def pointer(self) -> str:
        """The path as a JSON pointer (RFC 6901): ``/items/0/url``."""
        return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in self.path)

    @property
    def value(self) -> str | int | float | bool | None:
        """The decoded value."""
        decoded: str | int | float | bool | None = json.loads(self.raw)
        return decoded

    def replace(self, value: object) -> Edit:
        """Put another value there (anything :func:`json.dumps` takes)."""
        new = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
        return Edit(self.start, self.start + len(self.raw), new.encode("ascii"))


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyResponse:
    """An answer given by a plugin instead of the upstream."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One whole WebSocket message. ``data`` is ``str`` for text and ``bytes`` for binary ones."""

    direction: Literal["to_upstream", "to_browser"]
    data: str | bytes


class Plugin:
    """Base of every plugin: set the class attributes, override the hooks you need.

    One instance serves all requests of a process, so keep what belongs to one body in
    ``context.state``. Hooks are plain functions, run on the event loop and must not block. A hook
    that raises or returns something else than it should is counted, logged under the plugin's
    name, and the original passes.
    """

    name: ClassVar[str]
    """Lower-case letters, digits, ``-`` and ``_``; unique."""
    matches: ClassVar[Match] = Match()
    """Which responses it wants; by default every one."""
    needs: ClassVar[Needs] = Needs.HEADERS
    """How much of a body it wants to see."""
    before: ClassVar[tuple[str, ...]] = ()
    """Names of plugins that run after this one (absent ones are ignored)."""
    after: ClassVar[tuple[str, ...]] = ()
    """Names of plugins that run before this one (absent ones are ignored)."""
    enabled: ClassVar[bool] = True
    """Whether it runs without being asked; ``PLUGIN_OPTIONS`` may set ``enabled`` either way."""
    varies: ClassVar[tuple[str, ...]] = ()
    """Request headers that the result depends on; added to ``Vary`` of what it rewrites, and part
    of its ETag. ``*``: on something else, so no result is used twice."""
    messages: ClassVar[bool] = False
    """Whether it wants WebSocket messages. Asking for them costs the raw relay of frames."""
    tags: ClassVar[tuple[str, ...]] = ()
    """``needs = "tokens"``: the elements whose tags it wants (``body``, ``/body`` for end tags).
    Everything else is then eaten at full speed. Empty: every tag, comment and text run."""
    version: ClassVar[str] = "1"
    """Change it when the output changes: validators and caches depend on it."""

    Options: ClassVar[type[BaseModel]] = PluginOptions
    """A pydantic model; ``PLUGIN_OPTIONS[name]`` is validated against it at start."""

    def __init__(self, options: BaseModel) -> None:
        self.options = options

    def request_headers(self, context: Context, headers: CIMultiDict[str]) -> None:
        """Change the request's headers in place, before they go to the upstream."""

    def response_headers(self, context: Context, headers: CIMultiDict[str]) -> None:
        """Change the response's headers in place, after the gate mapped them."""

    def early_response(self, context: Context) -> EarlyResponse | None:
        """Answer instead of the upstream, or return ``None`` to let the request go on.

        Called after the access token, scope and device were checked, never before.
        """

    def websocket_message(self, context: Context, message: Message) -> str | bytes | None:
        """See a whole WebSocket message (set ``messages = True``).

        Return the data to send on: ``message.data`` itself to pass it, ``None`` to drop it.
        """
        return message.data

    def applies(self, context: Context) -> bool:
        """A last look before the body starts, for what ``matches`` can't say.

        ``context.state`` is not the plugin's own yet: only look.
        """
        return True

    def scanner(self, context: Context) -> Scanner | None:
        """``needs = "chunks"``: a new scanner for this body, or ``None`` to leave it alone."""
        return None

    def token(self, context: Context, token: Token) -> Iterable[Edit] | Edit | None:
        """``needs = "tokens"``: return edits made by the token's own methods, or ``None``."""

    def text(self, context: Context, text: str) -> Iterable[TextEdit] | None:
        """``needs = "text"``: return edits over the whole body, or ``None``."""

    def json_value(self, context: Context, value: JsonValue) -> Edit | None:
        """``needs = "json"``: return ``value.replace(...)``, or ``None`` to leave it."""

    def document(self, context: Context, soup: Any) -> None:
        """``needs = "document"``: change the :class:`bs4.BeautifulSoup` tree in place.

        It runs on the upstream's own view of the page when the plugin is ordered before ``html``
        (``before = ("html",)``), so that links put in are mapped like all others.
        """


HOOKS = (
    "request_headers",
    "response_headers",
    "early_response",
    "websocket_message",
    "applies",
    "scanner",
    "token",
    "text",
    "json_value",
    "document",
)
"""Every hook, in the order in which the reference describes them."""

"""The types of the plugin API, public as :mod:`zenzefi.plugins`.

A plugin declares the responses that it ``matches`` and the data that it ``needs``. The engine
passes it exactly that and applies the edits that it returns. Bytes that no edit covers pass
unchanged.
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
from zenzefi.rewriting.csp import InlineHashes
from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.runtime.marks import NO_KEY
from zenzefi.rewriting.scanner import Scanner
from zenzefi.rewriting.url_map import UrlMap


class TextEdit(NamedTuple):
    """An edit with offsets in characters, for plugins that need ``text``."""

    start: int
    end: int
    new: str


class Needs(enum.StrEnum):
    """The form in which a plugin gets the body, from cheap to expensive."""

    HEADERS = "headers"
    """No body at all: only header, message and early-response hooks."""
    CHUNKS = "chunks"
    """A streaming :class:`Scanner` over the decoded bytes."""
    TOKENS = "tokens"
    """HTML tags, comments and text runs, streamed, one :class:`Token` at a time."""
    TEXT = "text"
    """The whole body as a string (bounded; longer bodies pass unchanged)."""
    JSON = "json"
    """Every value of a JSON body with its path, streamed."""
    DOCUMENT = "document"
    """A BeautifulSoup tree (lxml) of the whole page: convenient and slow."""


class PluginOptions(BaseModel):
    """Base of a plugin's options: an unknown key is reported as an error at start."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The responses that a plugin processes. All given criteria must match.

    ``content_types`` are essences (``text/html``) or globs (``*/*+json``), compared in lower case
    with the *effective* type, which is the type that a browser would use for the body
    (:mod:`zenzefi.rewriting.sniff`). ``paths`` are globs over the upstream's path (``*`` also
    matches slashes). ``status`` lists status codes. ``destinations`` lists ``Sec-Fetch-Dest``
    values; a request without this header matches any.
    """

    content_types: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    status: tuple[int, ...] = ()
    destinations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ``TypeError`` for a string instead of a tuple, such as ``paths="/shop/*"``."""
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
        """Whether path, status and destination match."""
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
    """One exchange, for a plugin. ``state`` is private to the plugin and to this body."""

    method: str
    url: str
    """The document's absolute URL at the upstream."""
    path: str
    """Its raw path, without the query."""
    status: int
    destination: str | None
    """``Sec-Fetch-Dest``: ``document``, ``script``, ``empty``...; ``None`` without the header."""
    content_type: str
    """The effective essence in lower case, or ``""``."""
    charset: str
    """The body's encoding by its Python name. Plugins get UTF-16 bodies as UTF-8; all other
    encodings are ASCII-compatible bytes."""
    mount: Mount
    mapper: UrlMap
    request_headers: CIMultiDictProxy[str]
    response_headers: CIMultiDictProxy[str]
    script_nonce: str | None = None
    """The nonce with which the page's Content-Security-Policy allows a script of the gate;
    ``None`` if the policy needs none."""
    scripts_allowed: bool = True
    """False if the page's Content-Security-Policy allows no script at all."""
    inline_hashes: InlineHashes | None = None
    """The hashes by which the policy allows inline scripts and styles, if it has some."""
    marks_key: str = NO_KEY
    """The gate's key for :func:`zenzefi.rewriting.runtime.runtime_tag`."""
    state: dict[str, Any] = field(default_factory=dict)

    def map(self, url: str, document_url: str | None = None) -> str:
        """The URL that the browser must use for ``url`` (relative to the document's URL).

        Returns the same object if nothing changes.
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
    """One token of an HTML document (``needs = "tokens"``).

    ``kind`` is ``start``, ``end``, ``text``, ``comment`` or ``doctype``. For tags ``name`` is in
    lower case, and ``attributes`` maps lower-case names to decoded values (the first of repeated
    ones, as in browsers). ``raw`` is the source.
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
        """Insert before it."""

    def after(self, html: bytes) -> Edit:
        """Insert after it."""

    def replace(self, html: bytes) -> Edit:
        """Replace it."""

    def set(self, attribute: str, value: str) -> Edit:
        """Set an attribute of a start tag; quotes and escapes the value."""


@dataclass(frozen=True, slots=True)
class JsonValue:
    """One value of a JSON body (``needs = "json"``).

    ``path`` has object keys and array indexes from the root; ``raw`` is the source text of the
    value, without white space around it. Objects and arrays are not passed, only their members.
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
        """Replace it by another value (anything that :func:`json.dumps` accepts)."""
        new = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
        return Edit(self.start, self.start + len(self.raw), new.encode("ascii"))


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyResponse:
    """A response by a plugin instead of the upstream."""

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

    One instance serves all requests of a process, so keep the data of one body in
    ``context.state``. Hooks are plain functions, run on the event loop and must not block. If a
    hook raises or returns an invalid result, the failure is counted and logged under the plugin's
    name, and the original passes.
    """

    name: ClassVar[str]
    """Lower-case letters, digits, ``-`` and ``_``; unique."""
    matches: ClassVar[Match] = Match()
    """The responses that it processes; all by default."""
    needs: ClassVar[Needs] = Needs.HEADERS
    """The form in which it gets the body."""
    before: ClassVar[tuple[str, ...]] = ()
    """Names of plugins that run after this one (absent ones are ignored)."""
    after: ClassVar[tuple[str, ...]] = ()
    """Names of plugins that run before this one (absent ones are ignored)."""
    enabled: ClassVar[bool] = True
    """Whether it is enabled by default; ``enabled`` in ``PLUGIN_OPTIONS`` has precedence."""
    varies: ClassVar[tuple[str, ...]] = ()
    """Request headers on which the result depends; added to ``Vary`` of rewritten responses, and
    part of the ETag. ``*``: depends on something else, so no result is reused."""
    messages: ClassVar[bool] = False
    """Whether it gets WebSocket messages. If so, frames are parsed instead of relayed raw."""
    tags: ClassVar[tuple[str, ...]] = ()
    """``needs = "tokens"``: the elements whose tags it gets (``body``; ``/body`` for end tags).
    All other content is then skipped at full speed. Empty: every tag, comment and text run."""
    _reads_spellings: ClassVar[bool] = False
    """Whether it recognises the upstream's host in every spelling of markup, not only the plain
    one (:meth:`_edits_mentions_only`)."""
    _reads_words: ClassVar[tuple[bytes, ...]] = ()
    """Words in lower case: a body with one of them may have an edit without a mention."""
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
        """Return a response instead of the upstream's, or ``None`` to forward the request.

        Called after the access token, scope and device were checked.
        """

    def websocket_message(self, context: Context, message: Message) -> str | bytes | None:
        """Process a whole WebSocket message (requires ``messages = True``).

        Return the data to forward: ``message.data`` to pass it unchanged, ``None`` to drop it.
        """
        return message.data

    def applies(self, context: Context) -> bool:
        """Whether to process this body, for conditions that ``matches`` can't express.

        Called before the body starts. Do not change ``context.state``: it is shared at this point.
        """
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

    def text(self, context: Context, text: str) -> Iterable[TextEdit] | None:
        """``needs = "text"``: return edits over the whole body, or ``None``."""

    def json_value(self, context: Context, value: JsonValue) -> Edit | None:
        """``needs = "json"``: return ``value.replace(...)``, or ``None`` to keep it."""

    def document(self, context: Context, soup: Any) -> None:
        """``needs = "document"``: change the :class:`bs4.BeautifulSoup` tree in place.

        With ``before = ("html",)`` the tree has the upstream's view of the page, so that added
        links are mapped like all others.
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

"""The values of the plugin API: what a plugin declares, and what its hooks get and return."""

from __future__ import annotations

import enum
import fnmatch
import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from zenzefi.http_syntax import path_readings
from zenzefi.rewriting.edits import Edit


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
    TEXT_NODES = "text_nodes"
    """The texts of an HTML document, each as a whole :class:`TextNode`; streamed."""
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
    (:mod:`zenzefi.rewriting.sniff`). ``paths`` are globs over the upstream's canonical path (``*``
    also matches slashes); a path that servers read in several ways matches by any of them.
    ``status`` lists status codes. ``destinations`` lists ``Sec-Fetch-Dest`` values; a request
    without this header matches any.
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
        return not self.content_types or globs(self.content_types).match(essence) is not None

    def request(self, path: str, status: int, destination: str | None) -> bool:
        """Whether raw path, status and destination match."""
        if self.status and status not in self.status:
            return False
        if self.destinations and destination is not None and destination not in self.destinations:
            return False
        if not self.paths:
            return True
        expression = globs(self.paths)
        return any(expression.match(reading) for reading in (*path_readings(path), path))


@functools.lru_cache(maxsize=1024)
def globs(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """An expression that matches what any of these globs matches."""
    return re.compile("|".join(map(fnmatch.translate, patterns)))


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

    def remove(self, attribute: str) -> Edit:
        """Remove an attribute of a start tag, if it has it."""


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
class Response:
    """A response by a plugin instead of the upstream's.

    Addresses in its headers and its body are the upstream's; the gate maps them, and cookies too.
    """

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""

    @classmethod
    def redirect(cls, location: str, status: int = 303) -> Response:
        """A redirect to an address of the upstream, such as ``/login``, or of another site."""
        return cls(status=status, headers=(("Location", location),))

    @classmethod
    def text(cls, text: str, status: int = 200, content_type: str = "text/plain") -> Response:
        """A response with a text, in UTF-8."""
        headers = (("Content-Type", f"{content_type}; charset=utf-8"),)
        return cls(status=status, headers=headers, body=text.encode())


EarlyResponse = Response
"""The name of :class:`Response` in the first edition of the API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One whole WebSocket message. ``data`` is ``str`` for text and ``bytes`` for binary ones."""

    direction: Literal["to_upstream", "to_browser"]
    data: str | bytes

"""The declarations of pages and files of plugins, and the requests that handlers get."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from zenzefi.rewriting.plugins.values import Response

PLUGIN_PATH = "/.zenzefi/plugins/"
"""The path below the mount under which plugins have their pages; the upstream gets none of it."""
STATIC = "static"
"""The first segment of the paths of a plugin's files."""

Menu = str | Mapping[str, str]
_Result = Response | Awaitable[Response]
HandlerT = TypeVar("HandlerT", bound=Callable[..., _Result])

_SEGMENT = r"(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*|\{[a-z][a-z0-9_]*\})"
_PATTERN = re.compile(rf"/|(?:/{_SEGMENT})+/?")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_LONGEST_MENU = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A page of a plugin. Made by :func:`route`."""

    path: str
    """Below the plugin's own path; ``{name}`` stands for one segment."""
    methods: tuple[str, ...] = ("GET",)
    anonymous: bool = False
    """Whether it needs no access token. Its handler never knows who is asking."""
    menu: Menu = ""
    """The text of its entry in the account pages, or texts by language code; ``""``: no entry."""

    def problems(self) -> list[str]:
        """The mistakes of the declaration, as plain sentences."""
        found = []
        if not _PATTERN.fullmatch(self.path):
            found.append(f"the path {self.path!r} is not like /, /items or /items/{{id}}")
        elif self.path.split("/")[1] == STATIC:
            found.append(f"/{STATIC} is for files")
        if not self.methods or not set(self.methods) <= set(METHODS):
            found.append(f"methods are some of {', '.join(METHODS)}")
        texts = [self.menu] if isinstance(self.menu, str) else [*self.menu.values()]
        if any(len(text) > _LONGEST_MENU or not text.isprintable() for text in texts):
            found.append(f"the text of a menu entry has at most {_LONGEST_MENU} characters")
        if self.menu and ("{" in self.path or "GET" not in self.methods):
            found.append("a menu entry needs a path without {}, and GET")
        return found

    def menu_text(self, language: str) -> str:
        """The text of the menu entry in a language, otherwise in English; ``""`` without one."""
        if isinstance(self.menu, str):
            return self.menu
        return self.menu.get(language) or self.menu.get("en") or next(iter(self.menu.values()), "")


def route(
    path: str,
    *,
    methods: tuple[str, ...] = ("GET",),
    anonymous: bool = False,
    menu: Menu = "",
) -> Callable[[HandlerT], HandlerT]:
    """Declare that a method of a plugin handles requests for ``path``.

    The page is at ``/.zenzefi/plugins/NAME`` + ``path`` below the mount. ``{name}`` in the path
    stands for one segment. A request needs an access token whose scope covers that path, unless the
    route is ``anonymous``. ``GET`` includes ``HEAD``. The handler gets the exchange and a
    :class:`RouteRequest`, returns a :class:`Response` and may be ``async``. ``menu`` adds an entry
    to the account pages: a text, or texts by language code.
    """

    def declare(handler: HandlerT) -> HandlerT:
        made = Route(path=path, methods=methods, anonymous=anonymous, menu=menu)
        setattr(handler, _MARK, made)
        return handler

    return declare


_MARK = "_zenzefi_route"


def route_of(handler: object) -> Route | None:
    """The declaration of a handler, ``None`` for other methods."""
    found = getattr(handler, _MARK, None)
    return found if isinstance(found, Route) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFiles:
    """A folder next to the plugin's file, whose files are served below ``static/``.

    The files are read when the plugin is loaded: at most 1000, with 16 MiB together.
    """

    folder: str = STATIC
    anonymous: bool = False
    """Whether its files need no access token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRequest:
    """A request for a page of a plugin. The client is ``exchange.client``."""

    method: str
    path: str
    """Below the plugin's own path."""
    values: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The segments for ``{name}`` in the path, decoded."""
    query: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The parameters of the query; of a repeated one the last."""
    body: bytes = b""

    def form(self) -> dict[str, str]:
        """The fields of a form (``application/x-www-form-urlencoded``); the last of repeated ones.

        Raises ``ValueError`` for other content.
        """
        text = self.body.decode()
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=1000))

    def json(self) -> Any:
        """The JSON content. Raises ``ValueError`` for other content."""
        return json.loads(self.body)

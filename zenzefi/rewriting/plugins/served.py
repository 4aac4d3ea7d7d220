"""The pages and files of one plugin: collected when it is loaded, found by the path of a request.

Files are held in memory, so that no request reads a file, and a path never reaches the file system.
"""

from __future__ import annotations

import hashlib
import inspect
import mimetypes
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from zenzefi.http_syntax import canonical_path
from zenzefi.rewriting.plugins.route_values import (
    PLUGIN_PATH,
    STATIC,
    Route,
    StaticFiles,
    route_of,
)

MOST_FILES = 1000
MOST_BYTES = 16 * 1024 * 1024
_FILE = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_PLAIN_VALUE = re.compile(r"[^/\\\x00-\x1f\x7f]{1,500}")


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file; ``tag`` identifies its content."""

    data: bytes
    content_type: str
    tag: str

    def headers(self, version: str, *, anonymous: bool) -> list[tuple[str, str]]:
        """The headers; cached without limit if the address names the version (``?v=``)."""
        keep = "max-age=31536000, immutable" if version == self.tag else "no-cache"
        return [
            ("Content-Type", self.content_type),
            ("Cache-Control", f"{'public' if anonymous else 'private'}, {keep}"),
            ("ETag", f'"{self.tag}"'),
            ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ]


@dataclass(frozen=True, slots=True)
class Served:
    """The pages and files of a plugin."""

    routes: tuple[tuple[Route, str], ...] = ()
    """Declarations, each with the name of the method that handles it."""
    files: Mapping[str, StaticFile] = field(default_factory=lambda: MappingProxyType({}))
    """By their path below ``static/``."""
    files_are_anonymous: bool = False
    folder: Path | None = None

    def __bool__(self) -> bool:
        return bool(self.routes or self.files)

    def find(self, path: str) -> Iterator[tuple[Route, str, dict[str, str]]]:
        """The routes for a raw path below the plugin's own, each with the values of its ``{}``."""
        try:
            segments = [canonical_path(part, "strict") for part in path.split("/")[1:]]
        except UnicodeDecodeError:
            return
        for route, handler in self.routes:
            values = _match(route.path.split("/")[1:], segments)
            if values is not None:
                yield route, handler, values

    def file(self, path: str) -> StaticFile | None:
        """The file for a raw path below the plugin's own."""
        start = f"/{STATIC}/"
        return self.files.get(path.removeprefix(start)) if path.startswith(start) else None


def _match(pattern: list[str], segments: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(segments):
        return None
    values = {}
    for wanted, given in zip(pattern, segments, strict=True):
        if wanted.startswith("{"):
            if not _PLAIN_VALUE.fullmatch(given) or given in (".", ".."):
                return None
            values[wanted[1:-1]] = given
        elif wanted != given:
            return None
    return values


def is_plugin_path(path: str) -> bool:
    """Whether a raw path of the upstream's is one of plugins."""
    return path.startswith(PLUGIN_PATH)


def split_path(path: str) -> tuple[str, str]:
    """A raw path of plugins as the plugin's name and the rest, which begins with a slash."""
    name, slash, rest = path.removeprefix(PLUGIN_PATH).partition("/")
    return name, slash + rest


def declared_routes(plugin_class: type) -> list[tuple[Route, str]]:
    """The routes of a plugin's class in the order of their definition, inherited ones first."""
    found: dict[str, Route] = {}
    for base in reversed(plugin_class.__mro__):
        for name, member in vars(base).items():
            found.pop(name, None)
            if (route := route_of(member)) is not None:
                found[name] = route
    return [(route, name) for name, route in found.items()]


def route_problems(
    plugin_class: type, takes: Callable[[object, object], bool], model: object
) -> list[str]:
    """The mistakes in the routes of a class; ``takes`` compares a handler with ``model``."""
    name, problems, seen = getattr(plugin_class, "name", ""), [], set()
    for route, handler in declared_routes(plugin_class):
        problems += [f"{name}.{handler}: {problem}." for problem in route.problems()]
        if not takes(getattr(plugin_class, handler), model):
            problems.append(f"{name}.{handler} can't be called: it takes (exchange, request).")
        shape = re.sub(r"\{[^}]*\}", "{}", route.path)
        for method in route.methods:
            if (shape, method) in seen:
                problems.append(f"{name}.{handler}: {method} {route.path} is declared twice.")
            seen.add((shape, method))
    return problems


class FilesUnusable(Exception):
    """The files of a plugin can't be served; the text is a plain sentence."""


def served_by(plugin_class: type, declared: object) -> Served:
    """The pages and files of a plugin. Raises :class:`FilesUnusable`."""
    routes = tuple(declared_routes(plugin_class))
    if declared is None:
        return Served(routes)
    name = getattr(plugin_class, "name", "")
    if not isinstance(declared, StaticFiles):
        raise FilesUnusable(f"{name}.static is {declared!r}; it is StaticFiles(...).")
    folder = _folder(name, declared, inspect.getfile(plugin_class))
    files = MappingProxyType(dict(_files(name, folder)))
    return Served(routes, files, declared.anonymous, folder)


def _folder(name: str, declared: StaticFiles, source: str) -> Path:
    parent = Path(source).parent.resolve()
    folder = (parent / declared.folder).resolve()
    if folder == parent or not folder.is_relative_to(parent):
        raise FilesUnusable(f"{name}.static: {declared.folder} is not a folder next to the plugin.")
    if not folder.is_dir():
        raise FilesUnusable(f"{name}.static: there is no folder {folder}.")
    return folder


def _files(name: str, folder: Path) -> Iterator[tuple[str, StaticFile]]:
    count = size = 0
    for path in static_paths(folder):
        below = path.relative_to(folder).as_posix()
        if not _FILE.fullmatch(below):
            raise FilesUnusable(f"{name}.static: {below!r} is not made of A-Z a-z 0-9 . _ ~ - /")
        if not path.resolve().is_relative_to(folder):
            raise FilesUnusable(f"{name}.static: {below} leads out of its folder.")
        data = path.read_bytes()
        count, size = count + 1, size + len(data)
        if count > MOST_FILES or size > MOST_BYTES:
            raise FilesUnusable(
                f"{name}.static: more than {MOST_FILES} files or {MOST_BYTES} bytes in {folder}."
            )
        yield below, StaticFile(data, _content_type(below), hashlib.sha256(data).hexdigest()[:16])


def static_paths(folder: Path) -> list[Path]:
    """The files below a folder, without hidden ones."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


_TYPES: dict[str, Any] = {".js": "text/javascript", ".mjs": "text/javascript"}


def _content_type(name: str) -> str:
    guessed = _TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0]
    if guessed is None:
        return "application/octet-stream"
    has_charset = guessed.startswith("text/") or guessed in ("application/json", "image/svg+xml")
    return f"{guessed}; charset=utf-8" if has_charset else guessed

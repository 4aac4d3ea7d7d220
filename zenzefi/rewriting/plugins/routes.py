"""Calls the handlers of plugins' own pages, and makes their responses safe to send.

A handler that raises, is too slow or blocks fails its own request alone: the hooks of its plugin
continue. A route that blocked the event loop is left out for a minute.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from zenzefi.rewriting.plugins.faults import PluginFault
from zenzefi.rewriting.plugins.heads import ExchangeHead
from zenzefi.rewriting.plugins.loaded import LoadedPlugin
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.plugins.request_side import Watched
from zenzefi.rewriting.plugins.results import check_response
from zenzefi.rewriting.plugins.route_values import Route, RouteRequest
from zenzefi.rewriting.plugins.served import StaticFile, split_path
from zenzefi.rewriting.plugins.values import Response
from zenzefi.rewriting.plugins.watchdog import Blocked

MOST_CALLS = 128
"""Calls of one plugin's handlers at the same time in one process."""
MOST_ANONYMOUS_CONTENTS = 32
"""Contents that clients without a token send to one plugin at the same time: each is in memory."""
LONGEST_RESPONSE = 16 * 1024 * 1024
"""Bytes of a response."""
_READING = frozenset(("GET", "HEAD"))
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'self'"
)
"""The Content-Security-Policy of a plugin's page that sets none."""
_HEADERS = (
    ("Content-Security-Policy", POLICY),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class RouteMissing(Exception):
    """No plugin has this page."""


class RouteRefuses(Exception):
    """The page does not support the method; ``args[0]`` has those that it supports."""


class RouteSuspended(Exception):
    """The page can't be served at present: its plugin has not started, or it is too busy."""


class RouteFailed(Exception):
    """The handler failed."""


@dataclass(frozen=True, slots=True)
class FoundRoute:
    """The handler for one request."""

    entry: LoadedPlugin
    route: Route
    handler: str
    values: dict[str, str]
    path: str

    @property
    def longest_body(self) -> int:
        """Bytes of the longest content."""
        return self.entry.plugin.longest_body

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Enter this while the content is read. Raises :class:`RouteSuspended`."""
        entry = self.entry
        if not self.route.anonymous:  # those who may use it have a token, with its rate limit
            yield
            return
        if entry.anonymous_contents >= MOST_ANONYMOUS_CONTENTS:
            entry.statistics.skipped += 1
            raise RouteSuspended
        entry.anonymous_contents += 1
        try:
            yield
        finally:
            entry.anonymous_contents -= 1


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of a plugin."""

    file: StaticFile
    anonymous: bool


def find(registry: Registry, method: str, path: str) -> FoundRoute | FoundFile:
    """The page or file at a raw path. Raises :class:`RouteMissing` and :class:`RouteRefuses`."""
    name, below = split_path(path)
    entry = registry.serving.get(name)
    if entry is None:
        raise RouteMissing
    file = entry.served.file(below)
    if file is not None:
        if method not in _READING:
            raise RouteRefuses(sorted(_READING))
        return FoundFile(file, entry.served.files_are_anonymous)
    allowed: set[str] = set()
    for route, handler, values in entry.served.find(below):
        methods = {*route.methods, *(["HEAD"] if "GET" in route.methods else [])}
        if method in methods:
            return FoundRoute(entry, route, handler, values, below)
        allowed |= methods
    if allowed:
        raise RouteRefuses(sorted(allowed))
    raise RouteMissing


def is_anonymous(registry: Registry, method: str, path: str) -> bool:
    """Whether the request needs no access token. Unknown pages need one."""
    try:
        found = find(registry, method, path)
    except (RouteMissing, RouteRefuses):
        return False
    return found.anonymous if isinstance(found, FoundFile) else found.route.anonymous


def file_response(found: FoundFile, head: ExchangeHead) -> Response:
    """The file, or 304 if the client has it (RFC 9110, 13.1.2)."""
    version = dict(parse_qsl(urlsplit(head.url).query)).get("v", "")
    headers = found.file.headers(version, anonymous=found.anonymous)
    known = ", ".join(head.request_headers.getall("If-None-Match", ()))
    if f'"{found.file.tag}"' in known:
        return Response(status=304, headers=[pair for pair in headers if pair[0] != "Content-Type"])
    return Response(headers=headers, body=found.file.data)


async def call_route(found: FoundRoute, head: ExchangeHead, body: bytes) -> Response:
    """The response of the handler, with the headers that every page has.

    Raises :class:`RouteSuspended` and :class:`RouteFailed`.
    """
    entry = found.entry
    if not entry.may_serve(found.route.path, MOST_CALLS):
        raise RouteSuspended
    entry.running += 1
    try:
        return await _called(found, head, body)
    finally:
        entry.running -= 1


async def _called(found: FoundRoute, head: ExchangeHead, body: bytes) -> Response:
    entry = found.entry
    query = parse_qsl(urlsplit(head.url).query, keep_blank_values=True)
    request = RouteRequest(
        method=head.method,
        path=found.path,
        values=MappingProxyType(found.values),
        query=MappingProxyType(dict(query)),
        body=body,
    )
    handler: Callable[..., Any] = getattr(entry.plugin, found.handler)

    async def ask() -> Response:
        given = entry.traced(handler, head.url)(entry.exchange(head), request)
        if inspect.isawaitable(given):
            given = await given
        check_response(found.handler, given)
        if len(given.body) > LONGEST_RESPONSE:
            raise PluginFault(f"{found.handler}(): a response has at most {LONGEST_RESPONSE} bytes")
        response: Response = given
        return response

    watched = Watched(ask())
    try:
        async with asyncio.timeout(entry.plugin.timeout):
            response = await watched
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit() in a plugin must not end the gate
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise  # the client has left
        if isinstance(error, TimeoutError):
            error = PluginFault(f"{found.handler}() took longer than {entry.plugin.timeout:g} s")
        entry.route_failed(found.route.path, error, has_blocked=isinstance(error, Blocked))
        raise RouteFailed from None
    entry.spent(watched.seconds, 0)
    return _with_headers(response)


def _with_headers(response: Response) -> Response:
    given = {name.lower() for name, _ in response.headers}
    added = [pair for pair in _HEADERS if pair[0].lower() not in given]
    return Response(status=response.status, headers=[*response.headers, *added], body=response.body)


async def tried(
    registry: Registry, head: ExchangeHead, body: bytes, *, has_token: bool
) -> Response:
    """The response of the gate, for tests of plugins: 401, 404 and 405 where it refuses.

    Raises :class:`RouteSuspended` and :class:`RouteFailed`.
    """
    path = urlsplit(head.url).path
    if not has_token and not is_anonymous(registry, head.method, path):
        return Response(status=401)
    try:
        found = find(registry, head.method, path)
    except RouteMissing:
        return Response(status=404)
    except RouteRefuses as refusal:
        return Response(status=405, headers=[("Allow", ", ".join(refusal.args[0]))])
    if isinstance(found, FoundFile):
        return file_response(found, head)
    return await call_route(found, head, body)

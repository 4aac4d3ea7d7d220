"""A pytest plugin for authors of rewriters: ``pytest_plugins = ["zenzefi.plugins_testing"]``.

The fixture ``run_plugin`` runs one plugin over a body in one line, as the gate would, at several
chunk sizes, and fails the test where the gate would only have logged::

    def test_it_shouts(run_plugin):
        assert run_plugin(Shout, b"<p>hi</p>", content_type="text/html").body == b"<p>HI</p>"
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from zenzefi.origin import PROXY_PREFIX, Mount, MountKind, Origin
from zenzefi.rewriting.engine import Engine, ExchangeHead
from zenzefi.rewriting.plugins.api import Plugin, Response
from zenzefi.rewriting.plugins.client import ClientFacts
from zenzefi.rewriting.plugins.heads import ExchangeMemory
from zenzefi.rewriting.plugins.messages import Direction, OutgoingRequest, UpstreamError
from zenzefi.rewriting.plugins.registry import LoadedPlugin, Registry
from zenzefi.rewriting.plugins.request_side import request_side
from zenzefi.rewriting.plugins.route_values import PLUGIN_PATH
from zenzefi.rewriting.plugins.routes import RouteFailed, tried
from zenzefi.rewriting.plugins.services import HttpAnswer, HttpClient, PluginServices
from zenzefi.rewriting.plugins.socket_hooks import socket_hooks
from zenzefi.rewriting.plugins.watchdog import WATCHDOG
from zenzefi.rewriting.urls import UrlMapper
from zenzefi.settings import parse_origin

UPSTREAM = "https://app.example"
GATE = Origin("https", "gate.example", 443)
MOUNTS = {
    "prefix": Mount(MountKind.PREFIX, GATE, PROXY_PREFIX),
    "root": Mount(MountKind.ORIGIN, Origin("https", "app.gate.example", 443)),
    "client": Mount(MountKind.CLIENT, Origin("https", "127.0.0.1", 61000)),
}
CHUNKS = (1, 7, 65536)
NONCE = "the-nonce-of-each-test"
MountName = Literal["prefix", "root", "client"]
CLIENT = ClientFacts(
    user_id="00000000-0000-4000-8000-000000000001",
    token_id="00000000-0000-4000-8000-000000000002",  # noqa: S106 - an ID, not a secret
    activated_at=datetime(2026, 1, 1, tzinfo=UTC),
    expires_at=datetime(2026, 1, 2, tzinfo=UTC),
    address="192.0.2.1",
)
"""Who is asking, unless a test says otherwise: ``dataclasses.replace(CLIENT, scope="...")``."""


@dataclass(frozen=True, slots=True)
class Result:
    """The response that the browser would receive."""

    body: bytes
    headers: CIMultiDict[str]
    edits: int
    """Spans that the plugin changed."""
    ran: bool = True
    """False where the plugin was not asked at all: its ``matches`` did not hold."""
    status: int = 200

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()


class RunPlugin(Protocol):
    """The type of the fixture ``run_plugin``."""

    def __call__(
        self,
        plugin: type[Plugin],
        body: bytes = b"",
        *,
        content_type: str = "text/html",
        options: Mapping[str, Any] | None = None,
        url: str = UPSTREAM + "/",
        mount: MountName = "prefix",
        destination: str | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        request_headers: Mapping[str, str] | None = None,
        client: ClientFacts = CLIENT,
    ) -> Result:
        """Run ``plugin`` alone over an exchange. Raises ``AssertionError`` if it misbehaves."""


class PluginFailed(AssertionError):
    """The plugin raised, or broke a rule of the API; the gate would have passed the original."""


def run(plugin: type[Plugin], body: bytes = b"", **arguments: Any) -> Result:
    """What :class:`RunPlugin` says, without pytest; ``arguments`` as there."""
    with watched():
        return _run(plugin, body, **arguments)


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """With the gate's watchdog: a plugin that loops fails, and does not hang the test."""
    is_watching = WATCHDOG.start()
    try:
        yield
    finally:
        if is_watching:
            WATCHDOG.stop()


def _run(
    plugin: type[Plugin],
    body: bytes,
    *,
    content_type: str = "text/html",
    options: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    status: int = 200,
    **asked: Any,
) -> Result:
    results = []
    for size in CHUNKS if len(body) > 1 else CHUNKS[-1:]:
        engine, entry = engine_for(plugin, options)
        before = exchange(status=0, **asked)
        asyncio.run(_begin(engine, entry, before))
        exchanged = before._replace(
            status=status,
            response_headers=_headers({"Content-Type": content_type, **(headers or {})}),
        )
        rewrite = engine.plan(exchanged)
        if rewrite is None:
            out, sent = body, engine.map_response_headers(exchanged)
        else:
            parts = [rewrite.feed(body[i : i + size]) for i in range(0, len(body), size)]
            out, sent = b"".join(parts) + rewrite.finish(), rewrite.headers
        _raise(entry)
        final = exchanged.memory.status if exchanged.memory is not None else 0
        ran, edits = entry.statistics.calls > 0, entry.statistics.edits
        results.append(Result(out, CIMultiDict(sent), edits, ran, final or status))
    for size, result in zip(CHUNKS, results, strict=False):
        if result.body != results[-1].body:
            differ = f"{result.body!r}\n  {results[-1].body!r}"
            raise PluginFailed(f"{plugin.name}: chunks of {size} bytes differ:\n  {differ}")
    return results[-1]


async def _begin(engine: Engine, entry: LoadedPlugin, head: ExchangeHead) -> None:
    await _start(entry)
    side = request_side(engine.registry, head)
    if side is not None and await side.request(_outgoing(head, None)) is not None:
        raise PluginFailed(f"{entry.name}.request() responds: see what with send()")


async def _start(entry: LoadedPlugin, http: HttpClient | None = None) -> None:
    """Call ``startup``, as the gate does before the first request."""
    given = entry.plugin.startup(PluginServices(http or NoNetwork()))
    if given is not None:
        await given
    entry.is_started = True


class NoNetwork:
    """The HTTP client of tests: no look-up gets a response. Pass another one as ``http``."""

    async def request(self, method: str, url: str, **_: Any) -> HttpAnswer:
        """Raises ``OSError``."""
        raise OSError(f"{method} {url}: tests have no network")


def _headers(given: Mapping[str, str] | None) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(given or {}))


def _outgoing(head: ExchangeHead, headers: Mapping[str, str] | None) -> OutgoingRequest:
    path, mark, query = head.url.partition("//")[2].partition("/")[2].partition("?")
    target = f"/{path}", query if mark else None
    return OutgoingRequest(head.method, *target, CIMultiDict(headers or {}))


def engine_for(
    plugin: type[Plugin], options: Mapping[str, Any] | None = None
) -> tuple[Engine, LoadedPlugin]:
    """An engine with this one plugin. Raises ``PluginError``."""
    given = {"enabled": True, **(options or {})}
    registry = Registry(entry_points=False, classes=[plugin], options={plugin.name: given})
    return Engine(registry, nonce=lambda: NONCE), registry[plugin.name]


def exchange(
    url: str = UPSTREAM + "/",
    *,
    mount: MountName = "prefix",
    method: str = "GET",
    destination: str | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    request_headers: Mapping[str, str] | None = None,
    client: ClientFacts = CLIENT,
    is_websocket: bool = False,
) -> ExchangeHead:
    """An exchange for hooks that see no body; ``status=0`` is before the response."""
    origin = parse_origin("/".join(url.split("/", 3)[:3]))
    where = MOUNTS[mount]
    return ExchangeHead(
        method=method,
        url=url,
        status=status,
        mapper=UrlMapper(origin, where),
        mount=where,
        destination=destination,
        request_headers=_headers(request_headers),
        response_headers=_headers(headers),
        user=client.user_id,
        client=client,
        memory=ExchangeMemory("0123456789abcdef"),
        is_websocket=is_websocket,
    )


@dataclass(frozen=True, slots=True)
class Sent:
    """What becomes of a request: sent to the upstream like this, or responded to."""

    method: str
    path: str
    query: str | None
    headers: CIMultiDict[str]
    body: bytes
    response: Response | None
    """The plugin's response instead of the upstream's."""


def send(plugin: type[Plugin], url: str = UPSTREAM + "/", **arguments: Any) -> Sent:
    """:func:`send_async` for tests without an event loop."""
    return asyncio.run(send_async(plugin, url, **arguments))


async def send_async(
    plugin: type[Plugin],
    url: str = UPSTREAM + "/",
    *,
    body: bytes | None = None,
    options: Mapping[str, Any] | None = None,
    upstream_headers: Mapping[str, str] | None = None,
    http: HttpClient | None = None,
    **asked: Any,
) -> Sent:
    """Run the hooks of a request: ``early_response``, ``request_headers``, ``request`` and others.

    ``upstream_headers`` are those that the upstream would get without the plugin; ``asked`` as for
    :func:`exchange`. The content passes ``request_chunk`` in pieces of seven bytes.
    """
    engine, entry = engine_for(plugin, options)
    await _start(entry, http)
    head = exchange(url, status=0, **asked)
    outgoing = _outgoing(head, upstream_headers)
    response = engine.hooks.early_response(head)
    content, side = body or b"", request_side(engine.registry, head)
    if response is None:
        engine.hooks.request_headers(head, outgoing.headers)
    if side is not None and response is None:
        response = await side.request(outgoing)
        if response is None and body is not None:
            given = await side.body(content)
            if isinstance(given, Response):
                response = given
            else:
                content = b"".join(
                    side.chunk(given[at : at + 7], final=at + 7 >= len(given))
                    for at in range(0, max(1, len(given)), 7)
                )
    _raise(entry)
    return Sent(outgoing.method, outgoing.path, outgoing.query, outgoing.headers, content, response)


def call(plugin: type[Plugin], path: str = "/", **arguments: Any) -> Response:
    """:func:`call_async` for tests without an event loop."""
    return asyncio.run(call_async(plugin, path, **arguments))


async def call_async(
    plugin: type[Plugin],
    path: str = "/",
    *,
    method: str = "GET",
    body: bytes = b"",
    options: Mapping[str, Any] | None = None,
    client: ClientFacts | None = CLIENT,
    http: HttpClient | None = None,
    **asked: Any,
) -> Response:
    """A request for a page or file of a plugin; ``path`` is below the plugin's own, with its query.

    Without a ``client`` the request has no access token. The status is 401, 404 or 405 where the
    gate would refuse the request. ``asked`` as for :func:`exchange`.
    """
    engine, entry = engine_for(plugin, options)
    await _start(entry, http)
    head = exchange(
        f"{UPSTREAM}{PLUGIN_PATH}{plugin.name}{path}",
        status=0,
        method=method,
        client=client or ClientFacts(scope="", address=CLIENT.address),
        **asked,
    )
    with contextlib.suppress(RouteFailed):
        return await tried(engine.registry, head, body, has_token=client is not None)
    _raise(entry)
    raise PluginFailed(f"{plugin.name}: {path} failed")


def early(
    plugin: type[Plugin], url: str, options: Mapping[str, Any] | None = None
) -> Response | None:
    """The response of a plugin instead of the upstream's, for a GET of a URL."""
    return send(plugin, url, options=options).response


def failed(plugin: type[Plugin], code: str, status: int, **asked: Any) -> Response | None:
    """What ``upstream_error`` responds if the upstream has not; ``asked`` as for `exchange`."""
    engine, entry = engine_for(plugin)
    head, error = exchange(status=0, **asked), UpstreamError(code=code, status=status)
    response = engine.hooks.upstream_error(head, error)
    _raise(entry)
    return response


class TestedSocket:
    """A WebSocket with one plugin: pass it messages, see what it sends."""

    __test__ = False  # pytest: this is not a test

    def __init__(
        self, plugin: type[Plugin], options: Mapping[str, Any] | None = None, **asked: Any
    ) -> None:
        """The socket is open; ``asked`` as for :func:`exchange`."""
        engine, self._entry = engine_for(plugin, options)
        self.sent: list[tuple[str, str | bytes]] = []
        """The messages that the plugin has sent by itself, with their directions."""
        self.closed: tuple[int, str] | None = None
        """The code and reason with which the plugin has closed it."""
        hooks = socket_hooks(engine.registry, exchange(status=0, is_websocket=True, **asked))
        if hooks is None:
            raise PluginFailed(f"{plugin.name} has no hook for this WebSocket")
        self._hooks = hooks
        self._hooks.opened(self)
        _raise(self._entry)

    def message(self, data: str | bytes, direction: Direction = "to_browser") -> str | bytes | None:
        """A message after the plugin; ``None`` if it drops it."""
        out = self._hooks.message(direction, data)
        _raise(self._entry)
        return out

    def ended(self, code: int | None = 1000) -> None:
        """One side closes the socket."""
        self._hooks.closed(code)
        _raise(self._entry)

    def inject(self, direction: Direction, data: str | bytes) -> bool:
        """See :class:`zenzefi.rewriting.plugins.messages.SocketLink`."""
        self.sent.append((direction, data))
        return True

    def end(self, code: int, reason: str) -> None:
        """See :class:`zenzefi.rewriting.plugins.messages.SocketLink`."""
        self.closed = code, reason
        self._hooks.closed(code)


def message(
    plugin: type[Plugin],
    data: str | bytes,
    options: Mapping[str, Any] | None = None,
    *,
    direction: Direction = "to_browser",
) -> str | bytes | None:
    """What ``websocket_message`` makes of a message."""
    return TestedSocket(plugin, options).message(data, direction)


def _raise(entry: LoadedPlugin) -> None:
    if entry.statistics.errors:
        raise PluginFailed(f"{entry.name}: {entry.statistics.last_error}")


@pytest.fixture
def run_plugin() -> RunPlugin:
    """Run one plugin over a body in one line (:class:`RunPlugin`)."""
    return run

"""A pytest plugin for authors of rewriters: ``pytest_plugins = ["zenzefi.plugins_testing"]``.

The fixture ``run_plugin`` runs one plugin over a body in one line, as the gate would, at several
chunk sizes, and fails the test where the gate would only have logged::

    def test_it_shouts(run_plugin):
        assert run_plugin(Shout, b"<p>hi</p>", content_type="text/html").body == b"<p>HI</p>"
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from zenzefi.origin import PROXY_PREFIX, Mount, MountKind, Origin
from zenzefi.rewriting.engine import Engine, Exchange
from zenzefi.rewriting.plugins.api import EarlyResponse, Message, Plugin
from zenzefi.rewriting.plugins.registry import LoadedPlugin, Registry
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


@dataclass(frozen=True, slots=True)
class Result:
    """The response that the browser would receive."""

    body: bytes
    headers: CIMultiDict[str]
    edits: int
    """Spans that the plugin changed."""
    ran: bool = True
    """False where the plugin was not asked at all: its ``matches`` did not hold."""

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
        mount: Literal["prefix", "root", "client"] = "prefix",
        destination: str | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Result:
        """Run ``plugin`` alone over a response. Raises ``AssertionError`` if it misbehaves."""


class PluginFailed(AssertionError):
    """The plugin raised, or broke a rule of the API; the gate would have passed the original."""


def run(
    plugin: type[Plugin],
    body: bytes = b"",
    *,
    content_type: str = "text/html",
    options: Mapping[str, Any] | None = None,
    url: str = UPSTREAM + "/",
    mount: Literal["prefix", "root", "client"] = "prefix",
    destination: str | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Result:
    """What :class:`RunPlugin` says, without pytest."""
    arguments = (content_type, options, url, mount, destination, status, headers)
    with watched():
        return _run(plugin, body, *arguments)


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
    content_type: str,
    options: Mapping[str, Any] | None,
    url: str,
    mount: Literal["prefix", "root", "client"],
    destination: str | None,
    status: int,
    headers: Mapping[str, str] | None,
) -> Result:
    results = []
    for size in CHUNKS if len(body) > 1 else CHUNKS[-1:]:
        engine, entry = engine_for(plugin, options)
        exchanged = exchange(
            url,
            mount=mount,
            destination=destination,
            status=status,
            headers={"Content-Type": content_type, **(headers or {})},
        )
        rewrite = engine.plan(exchanged)
        if rewrite is None:
            out, sent = body, engine.map_response_headers(exchanged)
        else:
            parts = [rewrite.feed(body[i : i + size]) for i in range(0, len(body), size)]
            out, sent = b"".join(parts) + rewrite.finish(), rewrite.headers
        if entry.statistics.errors:
            raise PluginFailed(f"{plugin.name}: {entry.statistics.last_error}")
        ran = entry.statistics.calls > 0
        results.append(Result(out, CIMultiDict(sent), entry.statistics.edits, ran))
    for size, result in zip(CHUNKS, results, strict=False):
        if result.body != results[-1].body:
            raise PluginFailed(
                f"{plugin.name}: chunks of {size} bytes give another result than the whole body:\n"
                f"  {result.body!r}\n  {results[-1].body!r}"
            )
    return results[-1]


def engine_for(
    plugin: type[Plugin], options: Mapping[str, Any] | None = None
) -> tuple[Engine, LoadedPlugin]:
    """An engine with this one plugin. Raises ``PluginError``."""
    given = {"enabled": True, **(options or {})}
    registry = Registry(entry_points=False, classes=[plugin], options={plugin.name: given})
    return Engine(registry), registry[plugin.name]


def exchange(
    url: str = UPSTREAM + "/",
    *,
    mount: Literal["prefix", "root", "client"] = "prefix",
    method: str = "GET",
    destination: str | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    request_headers: Mapping[str, str] | None = None,
) -> Exchange:
    """An exchange for hooks that see no body; ``status=0`` is before the response."""
    origin = parse_origin("/".join(url.split("/", 3)[:3]))
    where = MOUNTS[mount]
    return Exchange(
        method=method,
        url=url,
        status=status,
        mapper=UrlMapper(origin, where),
        mount=where,
        destination=destination,
        request_headers=CIMultiDictProxy(CIMultiDict(request_headers or {})),
        response_headers=CIMultiDictProxy(CIMultiDict(headers or {})),
    )


def early(
    plugin: type[Plugin], url: str, options: Mapping[str, Any] | None = None
) -> EarlyResponse | None:
    """The result of ``early_response`` for a URL."""
    engine, entry = engine_for(plugin, options)
    early = engine.early_response(exchange(url, status=0))
    _raise(entry)
    return early


def message(
    plugin: type[Plugin],
    data: str | bytes,
    options: Mapping[str, Any] | None = None,
    *,
    direction: Literal["to_upstream", "to_browser"] = "to_browser",
) -> str | bytes | None:
    """What ``websocket_message`` makes of a message."""
    engine, entry = engine_for(plugin, options)
    out = engine.message(exchange(status=101), Message(direction=direction, data=data))
    _raise(entry)
    return out


def _raise(entry: LoadedPlugin) -> None:
    if entry.statistics.errors:
        raise PluginFailed(f"{entry.name}: {entry.statistics.last_error}")


@pytest.fixture
def run_plugin() -> RunPlugin:
    """Run one plugin over a body in one line (:class:`RunPlugin`)."""
    return run

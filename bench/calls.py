"""Count the gate's function calls per request: ``python -m bench.calls [CASE ...]``.

The count is the same on every machine and under any load, so it shows what a change costs where
times don't. The gate, an upstream and a client run in one process; only the gate's own functions
are counted. Tokens are kept in memory, which leaves one call out.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from bench.proxy import content
from bench.proxy.gate import VARIANTS
from tests.kit.counted_calls import CallCounter
from tests.kit.ports import free_port
from tests.kit.proxy_gates import PREFIX, TOKEN, MemoryTokenValidator, proxy_app
from zenzefi.observability import tracing
from zenzefi.proxy.setup import build_engine
from zenzefi.runtime.drain import GateRunner
from zenzefi.settings import load_settings

_WARM_UP = 20
_RESPONSES = content.plain()


@dataclass(frozen=True)
class Case:
    """One request, sent again and again. ``line`` returns a further header line for each."""

    path: str
    method: str = "GET"
    size: int = 0
    """Bytes of the content."""
    line: Callable[[], str] = lambda: ""
    settings: dict[str, str] = field(default_factory=dict)


_numbers = count()
CASES = {
    "PNG": Case("/static/1k.png"),
    "PNG-new-headers": Case("/static/1k.png", line=lambda: f"X-Page-View: v{next(_numbers)}\r\n"),
    "PNG-tracing": Case("/static/1k.png", settings={"TRACING": "true"}),
    "PNG-limit": Case("/static/1k.png", settings=VARIANTS["proxy limit"]),
    "PNG-header-plugin": Case("/static/1k.png", settings=VARIANTS["header plugin"]),
    "JSON": Case("/api/items-1k"),
    "JSON-20k": Case("/api/items-20k"),
    "POST": Case("/api/orders", "POST", 1024),
    "CSS": Case("/static/main.css"),
    "HTML": Case("/guide/20k.html"),
    "HTML-seen": Case("/guide/seen.html"),
    "HTML-seen-etag": Case("/guide/seen-etag.html"),
}


class _NoExport:
    """Drops all spans."""

    def export(self, _: object) -> int:
        return 0

    def shutdown(self) -> None:
        pass


class _Upstream(asyncio.Protocol):
    """Responds to each request with the prepared bytes of its path."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(_RESPONSES[data.split(b" ", 2)[1]])


@asynccontextmanager
async def _gate(settings: dict[str, Any]) -> AsyncIterator[int]:
    """A gate in front of the upstream; its port."""
    loop = asyncio.get_running_loop()
    upstream = await loop.create_server(_Upstream, "127.0.0.1", 0)
    origin = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}"
    tokens = MemoryTokenValidator()
    tokens.add(activated=True)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="zenzefi-calls-") as folder:
        loaded = load_settings({**settings, "zenzefi_target_url": origin, "data_dir": folder})
        chosen = {
            name: getattr(loaded, name) for name in map(str.lower, settings) if name in dir(loaded)
        }
        app = proxy_app(tokens, Path(folder), origin, port, engine=build_engine(loaded), **chosen)
        runner = GateRunner(app, drain_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield port
        await runner.cleanup()
    upstream.close()


async def counted(case: Case, requests: int) -> CallCounter:
    """The calls of a case."""
    counter = CallCounter()
    async with _gate(case.settings) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(_WARM_UP + requests):
            if number == _WARM_UP:
                counter.__enter__()
            writer.write(_request(case, port))
            await _response(reader)
        counter.__exit__()
        writer.close()
    return counter


def _request(case: Case, port: int) -> bytes:
    more = f"Content-Length: {case.size}\r\n" if case.size else ""
    head = (
        f"{case.method} {PREFIX}{case.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"X-Access-Token: {TOKEN}\r\n{more}{case.line()}\r\n"
    )
    return head.encode() + bytes(case.size)


async def _response(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(head.decode("latin-1"))
    _, found, length = head.partition(b"\r\ncontent-length: ")
    if found:
        await reader.readexactly(int(length.split(b"\r\n", 1)[0]))
        return
    while size := int(await reader.readline(), 16):
        await reader.readexactly(size + 2)
    await reader.readline()


def main() -> None:
    """Print the calls per request of each chosen case."""
    tracing.exporter = _NoExport  # type: ignore[assignment]  # there is nothing to send spans to
    parser = argparse.ArgumentParser(prog="python -m bench.calls", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--requests", type=int, default=1000, help="requests per case")
    parser.add_argument("--top", type=int, default=0, help="print the functions called most")
    given = parser.parse_args()
    for name in given.cases or CASES:
        counter = asyncio.run(counted(CASES[name], given.requests))
        functions, builtins = counter.total / given.requests, counter.builtins / given.requests
        print(f"{name:18} {functions:8.1f} functions {builtins:8.1f} builtins per request")
        if given.top:
            print(counter.table(given.requests, given.top))


if __name__ == "__main__":
    main()

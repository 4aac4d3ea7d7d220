"""What each kind of plugin costs: function calls and CPU time for one page or one request.

``python -m bench.plugin_kinds`` prints the table of ``docs/plugins.md``. Calls are counted by
cProfile and do not depend on the load of the machine.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import time
from collections.abc import Callable
from typing import Any

from multidict import CIMultiDict

from zenzefi.plugins import Match, Needs, OutgoingRequest, Plugin
from zenzefi.plugins_testing import engine_for, exchange
from zenzefi.rewriting.plugins.request_side import request_side
from zenzefi.rewriting.plugins.socket_hooks import socket_hooks

ROUNDS = 20
PAGE = b"<body>" + b'<p><a href="/x">a link</a> and some text of a paragraph</p>' * 170
JSON = b"[" + b'{"name": "a lamp", "price": 15.5},' * 290 + b"0]"


def nothing(*_: object) -> None:
    return None


async def waits_for_nothing(*_: object) -> None:
    return None


def kind(needs: Needs = Needs.HEADERS, **members: Any) -> type[Plugin]:
    return type("Made", (Plugin,), {"name": "made", "needs": needs, "matches": Match(), **members})


class Passes:
    def scan(self, window: bytes, final: bool) -> tuple[int, list[Any]]:
        return len(window), []


BODIES = {
    "chunks": (kind(Needs.CHUNKS, scanner=lambda *_: Passes()), PAGE, "text/html"),
    "tokens, one tag": (kind(Needs.TOKENS, tags=("body",), token=nothing), PAGE, "text/html"),
    "tokens, all": (kind(Needs.TOKENS, token=nothing), PAGE, "text/html"),
    "text_nodes": (kind(Needs.TEXT_NODES, text_node=nothing), PAGE, "text/html"),
    "text": (kind(Needs.TEXT, text=nothing), PAGE, "text/html"),
    "json": (kind(Needs.JSON, json_value=nothing), JSON, "application/json"),
    "document": (kind(Needs.DOCUMENT, document=nothing), PAGE, "text/html"),
    "response_headers": (kind(response_headers=nothing), b"", "image/png"),
    "response": (kind(response=nothing), b"", "image/png"),
}


def body(plugin: type[Plugin], data: bytes, content_type: str) -> Callable[[], None]:
    engine, _ = engine_for(plugin)

    def one() -> None:
        rewrite = engine.plan(exchange(headers={"Content-Type": content_type}))
        if rewrite is None:
            engine.map_response_headers(exchange(headers={"Content-Type": content_type}))
            return
        for at in range(0, len(data), 4096):
            rewrite.feed(data[at : at + 4096])
        rewrite.finish()

    return one


def request(plugin: type[Plugin], content: bytes | None = None) -> Callable[[], None]:
    engine, _ = engine_for(plugin)
    loop = asyncio.new_event_loop()

    async def call() -> None:
        side = request_side(engine.registry, exchange(status=0))
        if side is not None:
            await side.request(OutgoingRequest("GET", "/", None, CIMultiDict({"A": "b"})))
            if content is not None:
                await side.body(content)
                side.chunk(content, final=True)

    return lambda: loop.run_until_complete(call())


def socket(plugin: type[Plugin]) -> Callable[[], None]:
    engine, _ = engine_for(plugin)
    hooks = socket_hooks(engine.registry, exchange(status=0, is_websocket=True))

    def one() -> None:
        if hooks is not None:
            hooks.message("to_browser", "a message")

    return one


def measured(one: Callable[[], None]) -> tuple[float, float]:
    one()
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(ROUNDS):
        one()
    profile.disable()
    calls = pstats.Stats(profile).total_calls / ROUNDS  # type: ignore[attr-defined] # no stub
    spent = []
    for _ in range(5):
        start = time.process_time()
        for _ in range(ROUNDS):
            one()
        spent.append(time.process_time() - start)
    return calls, min(spent) / ROUNDS * 1e6


def main() -> None:
    print("| kind | calls | CPU, µs |")
    print("|---|---|---|")
    works = {name: body(*arguments) for name, arguments in BODIES.items()}
    works["request"] = request(kind(request=nothing))
    works["request, async"] = request(kind(request=waits_for_nothing))
    works["request_body"] = request(kind(request_body=nothing), b"x" * 1000)
    works["request_chunk"] = request(kind(request_chunk=nothing), b"x" * 1000)
    works["websocket_message"] = socket(kind(websocket_message=lambda _s, _e, m: m.data))
    for name, one in works.items():
        calls, spent = measured(one)
        print(f"| `{name}` | {calls:.0f} | {spent:.0f} |")


if __name__ == "__main__":
    main()

"""Plugins that misbehave on a running gate: the original passes, and the log names the culprit."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import ClientSession, web

from tests.kit.proxy_gates import TOKEN, GateFactory, RunningGate
from zenzefi.plugins import EarlyResponse, Edit, Needs, Plugin
from zenzefi.proxy import setup as proxy_setup
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins import watchdog
from zenzefi.rewriting.plugins.registry import Registry

PAGE = b"<!doctype html><h1>Harbour</h1><p>" + b"Lamps are lit at dusk. " * 200

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "TICK", 0.02)
    monkeypatch.setattr(watchdog, "CPU_SECONDS", 0.1)
    monkeypatch.setattr(watchdog, "WALL_SECONDS", 0.3)
    monkeypatch.setattr(watchdog, "DOCUMENT_SECONDS", 0.3)


@pytest.fixture
def upstream_app() -> web.Application:
    async def page(request: web.Request) -> web.Response:
        headers = {"X-Seen": request.headers.get("X-Number", "none")}
        return web.Response(body=PAGE, content_type="text/html", headers=headers)

    async def socket(request: web.Request) -> web.WebSocketResponse:
        there = web.WebSocketResponse()
        await there.prepare(request)
        async for message in there:
            await there.send_str(f"you said {message.data}")
        return there

    app = web.Application()
    app.router.add_get("/page", page)
    app.router.add_get("/socket", socket)
    return app


async def start_with(start_gate: GateFactory, upstream: str, plugin: type[Plugin]) -> RunningGate:
    engine = Engine(Registry(entry_points=False, classes=[plugin]))
    return await start_gate(upstream, engine=engine)


def account_of(gate: RunningGate) -> Any:
    return gate.app[proxy_setup.ENGINE].registry.entries[0].statistics


async def get(gate: RunningGate, client: ClientSession) -> tuple[int, bytes, Any]:
    async with client.get(f"{gate.proxy_url}/page", headers={"X-Access-Token": TOKEN}) as response:
        return response.status, await response.read(), response.headers


def bad(need: Needs, **members: Any) -> type[Plugin]:
    return type("Bad", (Plugin,), {"name": "bad", "needs": need, **members})


def raises(error: BaseException) -> Callable[..., Any]:
    def hook(*_: object) -> Any:
        raise error

    return hook


def gives(value: object) -> Callable[..., Any]:
    return lambda *_: value


def loop(*_: object) -> None:
    while True:
        pass


def sleep(*_: object) -> None:
    time.sleep(60)


class Settles:
    """A scanner that settles more than it was shown."""

    def scan(self, window: bytes, final: bool) -> tuple[int, list[Edit]]:
        return len(window) + 1, []


def _generator(*_: object) -> Iterator[Edit]:
    yield Edit(0, 0, b"x")
    raise ValueError("late")


BODIES = {
    "raises": bad(Needs.TOKENS, token=raises(RuntimeError("boo"))),
    "exits": bad(Needs.TOKENS, token=lambda *_: sys.exit(3)),
    "recurses": bad(Needs.TOKENS, token=raises(RecursionError())),
    "runs out of memory": bad(Needs.TOKENS, token=raises(MemoryError())),
    "fails late": bad(Needs.TOKENS, token=_generator),
    "returns text": bad(Needs.TOKENS, token=gives("<p>")),
    "returns a number": bad(Needs.TOKENS, token=gives(7)),
    "returns loose tuples": bad(Needs.TOKENS, token=gives([(0, 0, b"x")])),
    "edits with text": bad(Needs.TOKENS, token=gives(Edit(0, 0, "x"))),  # type: ignore[arg-type] # the fault
    "edits elsewhere": bad(Needs.TOKENS, token=gives(Edit(5_000, 90_000, b""))),
    "loops": bad(Needs.TOKENS, token=loop),
    "sleeps": bad(Needs.TOKENS, token=sleep),
    "floods": bad(Needs.TOKENS, token=gives(Edit(0, 0, b"x" * (40 << 20)))),
    "text raises": bad(Needs.TEXT, text=raises(ValueError("boo"))),
    "text returns text": bad(Needs.TEXT, text=gives("new")),
    "text edits beyond the end": bad(Needs.TEXT, text=gives([(0, 10**9, "x")])),
    "scanner is none": bad(Needs.CHUNKS, scanner=gives(object())),
    "scanner raises": bad(Needs.CHUNKS, scanner=raises(SystemExit())),
    "scanner loops": bad(Needs.CHUNKS, scanner=loop),
    "scan settles too much": bad(Needs.CHUNKS, scanner=lambda *_: Settles()),
    "applies raises": bad(
        Needs.CHUNKS, applies=raises(KeyError("x")), scanner=lambda *_: Settles()
    ),
    "document raises": bad(Needs.DOCUMENT, document=raises(AttributeError("x"))),
    "document exits": bad(Needs.DOCUMENT, document=lambda *_: sys.exit(3)),
    "document sleeps": bad(Needs.DOCUMENT, document=lambda *_: time.sleep(3)),
}


@pytest.mark.parametrize("plugin", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("at_once", [True], ids=["at once"])
async def test_the_original_page_passes(
    start_gate: GateFactory,
    upstream: str,
    client: ClientSession,
    caplog: pytest.LogCaptureFixture,
    plugin: type[Plugin],
) -> None:
    gate = await start_with(start_gate, upstream, plugin)
    status, body, _ = await get(gate, client)
    assert (status, body) == (200, PAGE)
    assert account_of(gate).errors == 1
    assert "plugin bad failed, body passed unchanged" in caplog.text


def sets(name: object, value: object) -> Callable[..., None]:
    def hook(_self: object, _context: object, headers: Any) -> None:
        headers[name] = value

    return hook


def removes(name: str) -> Callable[..., None]:
    def hook(_self: object, _context: object, headers: Any) -> None:
        del headers[name]

    return hook


def early(**fields: Any) -> Callable[..., EarlyResponse]:
    return gives(EarlyResponse(**{"body": b"early", **fields}))


HEADS = {
    "raises": {"response_headers": raises(RuntimeError("boo"))},
    "exits": {"response_headers": lambda *_: sys.exit(3)},
    "sets a number": {"response_headers": sets("X-Number", 5)},
    "sets a line break": {"response_headers": sets("X-A", "b\r\nSet-Cookie: c=d")},
    "sets a bad name": {"response_headers": sets("X A", "b")},
    "sets bytes": {"response_headers": sets("X-A", b"b")},
    "sets the length": {"response_headers": sets("Content-Length", "7")},
    "removes the length": {"response_headers": removes("Content-Length")},
    "chunks": {"response_headers": sets("Transfer-Encoding", "chunked")},
    "floods": {"response_headers": sets("X-A", "b" * 300_000)},
    "loops": {"response_headers": loop},
    "sleeps": {"response_headers": sleep},
    "request: raises": {"request_headers": raises(ValueError("boo"))},
    "request: sets a number": {"request_headers": sets("X-Number", 5)},
    "request: sets a line break": {"request_headers": sets("X-Number", "1\nX-User-Id: 2")},
    "request: sets a length": {"request_headers": sets("Content-Length", "7")},
    "request: loops": {"request_headers": loop},
    "early: raises": {"early_response": raises(ValueError("boo"))},
    "early: loops": {"early_response": loop},
    "early: text": {"early_response": gives("hello")},
    "early: status is text": {"early_response": early(status="200")},
    "early: status 99": {"early_response": early(status=99)},
    "early: status 101": {"early_response": early(status=101)},
    "early: body is text": {"early_response": early(body="early")},
    "early: headers are a dict": {"early_response": early(headers={"X-A": "b"})},
    "early: a header is a number": {"early_response": early(headers=[("X-A", 5)])},
    "early: a header splits": {"early_response": early(headers=[("X-A", "b\nX-B: c")])},
}


@pytest.mark.parametrize("members", HEADS.values(), ids=HEADS.keys())
async def test_the_original_response_passes(
    start_gate: GateFactory,
    upstream: str,
    client: ClientSession,
    caplog: pytest.LogCaptureFixture,
    members: dict[str, Any],
) -> None:
    gate = await start_with(start_gate, upstream, bad(Needs.HEADERS, **members))
    status, body, headers = await get(gate, client)
    assert (status, body) == (200, PAGE)
    assert headers["X-Seen"] == "none"
    assert headers["Content-Length"] == str(len(PAGE))
    assert "X-A" not in headers
    assert account_of(gate).errors == 1
    assert "plugin bad failed, body passed unchanged" in caplog.text


async def test_a_blocking_plugin_is_disabled_at_once_and_a_failing_one_after_five_failures(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    gate = await start_with(start_gate, upstream, BODIES["loops"])
    for _ in range(3):
        assert (await get(gate, client))[1] == PAGE
    assert (account_of(gate).errors, account_of(gate).skipped) == (1, 2)
    gate = await start_with(start_gate, upstream, BODIES["raises"])
    for _ in range(7):
        assert (await get(gate, client))[1] == PAGE
    assert (account_of(gate).errors, account_of(gate).skipped) == (5, 2)


MESSAGES = {
    "raises": raises(ValueError("boo")),
    "exits": lambda *_: sys.exit(3),
    "returns a number": gives(7),
    "returns half a character": gives("\ud800"),
    "loops": loop,
}


@pytest.mark.parametrize("hook", MESSAGES.values(), ids=MESSAGES.keys())
@pytest.mark.parametrize("at_once", [True], ids=["at once"])
async def test_the_original_message_passes(
    start_gate: GateFactory, upstream: str, client: ClientSession, hook: Callable[..., Any]
) -> None:
    plugin = bad(Needs.HEADERS, messages=True, websocket_message=hook)
    gate = await start_with(start_gate, upstream, plugin)
    headers = {"X-Access-Token": TOKEN}
    async with client.ws_connect(f"{gate.proxy_url}/socket", headers=headers) as there:
        await there.send_str("ahoy")
        assert await there.receive_str(timeout=20) == "you said ahoy"
    assert account_of(gate).errors >= 1


async def test_shadow_mode_changes_nothing_and_reports_everything(
    start_gate: GateFactory,
    upstream: str,
    client: ClientSession,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Loud(Plugin):
        name = "loud"
        needs = Needs.TOKENS
        tags = ("h1",)
        early_response = early()
        request_headers = sets("X-Number", "5")
        response_headers = sets("X-A", "b")

        def token(self, context: object, token: Any) -> Edit:
            return token.before(b"<p>Loud</p>")  # type: ignore[no-any-return] # test helper

    registry = Registry(entry_points=False, classes=[Loud], options={"loud": {"shadow": True}})
    gate = await start_gate(upstream, engine=Engine(registry))
    caplog.set_level("INFO", "zenzefi.plugins")
    status, body, headers = await get(gate, client)
    assert (status, body, headers["X-Seen"]) == (200, PAGE, "none")
    assert "X-A" not in headers
    assert registry["loud"].statistics.shadow_edits == 4
    assert TOKEN not in caplog.text
    for said in ("X-Number: 5", "X-A: b", "early", "<p>Loud</p>"):
        assert said in caplog.text


async def test_a_trace_reports_each_call_and_no_secret(
    start_gate: GateFactory,
    upstream: str,
    client: ClientSession,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Traced(Plugin):
        name = "traced"
        needs = Needs.TOKENS
        tags = ("h1",)
        request_headers = sets("X-Number", "5")

        def token(self, context: object, token: Any) -> Edit:
            return token.before(b"<p>Here</p>")  # type: ignore[no-any-return] # test helper

    registry = Registry(entry_points=False, classes=[Traced], trace="traced")
    gate = await start_gate(upstream, engine=Engine(registry))
    caplog.set_level("INFO", "zenzefi.plugins")
    headers = {"Cookie": "session=secret-1"}
    async with client.get(f"{gate.proxy_url}/page?key=secret-2", headers=headers) as response:
        assert (await response.read()).count(b"<p>Here</p>") == 1
    assert "trace traced.hook(" in caplog.text  # sets() made it
    assert "headers) -> None in " in caplog.text
    assert "trace traced.token(" in caplog.text
    assert f" at {upstream}/page" in caplog.text
    assert "secret" not in caplog.text
    assert TOKEN not in caplog.text

"""Plugins on the request side: changes, responses, contents, failures, and who is asking."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import ClientSession, web

from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate
from zenzefi.plugins import (
    Exchange,
    Match,
    Needs,
    OutgoingRequest,
    OutgoingResponse,
    Plugin,
    Response,
    TextEdit,
    UpstreamError,
)
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry

OTHER = "b" * 64
ASKED = {"X-Access-Token": TOKEN}


@pytest.fixture
def upstream_app() -> web.Application:
    async def echo(request: web.Request) -> web.Response:
        said = {
            "target": request.raw_path,
            "headers": [[name, value] for name, value in request.headers.items()],
            "body": (await request.read()).decode("latin-1"),
            "length": request.headers.get("Content-Length"),
        }
        return web.json_response(said, headers={"X-Served": "yes"})

    async def page(request: web.Request) -> web.Response:
        return web.Response(body=b"<p>page</p>", content_type="text/html")

    app = web.Application(client_max_size=1 << 24)
    app.router.add_get("/page", page)
    app.router.add_route("*", "/{path:.*}", echo)
    return app


async def start(start_gate: GateFactory, upstream: str, *plugins: type[Plugin]) -> RunningGate:
    registry = Registry(entry_points=False, classes=plugins)
    gate = await start_gate(upstream, engine=Engine(registry))
    gate.tokens.add(OTHER, activated=True)
    return gate


async def echoed(client: ClientSession, url: str, **more: Any) -> dict[str, Any]:
    headers = {**ASKED, **more.pop("headers", {})}
    async with client.request(more.pop("method", "GET"), url, headers=headers, **more) as response:
        assert response.status == 200, await response.text()
        said: dict[str, Any] = json.loads(await response.read())
        return said


class Guide(Plugin):
    """Changes what goes to the upstream."""

    name = "guide"

    def request(self, exchange: Exchange, request: OutgoingRequest) -> Response | None:
        if exchange.path_matches("/admin", "/admin/*"):
            return Response.text("not here", 403)
        if exchange.path == "/old":
            return Response.redirect("/new?x=1")
        request.headers["X-Guided"] = f"{request.method} {exchange.path} {exchange.query}"
        if exchange.path.startswith("/shop"):
            request.path = "/shop-b" + request.path.removeprefix("/shop")
            request.query = "variant=b"
        return None


async def test_a_plugin_changes_headers_path_and_query(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    gate = await start(start_gate, upstream, Guide)
    for _ in range(2):  # the second time the header block is known
        said = await echoed(client, gate.proxy_url + "/shop/%41?a=1")
        assert said["target"] == "/shop-b/A?variant=b" or said["target"] == "/shop-b/%41?variant=b"
        assert ["X-Guided", "GET /shop/A a=1"] in said["headers"]


@pytest.mark.parametrize(
    "path", ["/admin", "/%61dmin", "/admin;x", "//admin", "/admin/x", "/%2561dmin", "/a%64min/%78"]
)
async def test_a_path_is_blocked_however_it_is_spelled(
    start_gate: GateFactory, upstream: str, path: str
) -> None:
    gate = await start(start_gate, upstream, Guide)
    gate.tokens.add(TOKEN, activated=True)
    assert b" 200 " in (await gate.request(PREFIX + "/fine")).partition(b"\r\n")[0]
    for _ in range(2):
        assert b" 403 " in (await gate.request(PREFIX + path)).partition(b"\r\n")[0]


@pytest.mark.parametrize("target", ["//x", "/a|b{c}", "/a;b=1?q={x}|y", "/%41%2F"])
async def test_a_target_that_a_plugin_does_not_change_passes_as_it_is_spelled(
    start_gate: GateFactory, upstream: str, target: str
) -> None:
    gate = await start(start_gate, upstream, Guide)
    gate.tokens.add(TOKEN, activated=True)
    response = await gate.request(PREFIX + target)
    assert json.loads(response.partition(b"\r\n\r\n")[2])["target"] == target


async def test_a_redirect_of_a_plugin_stays_under_the_mount(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    gate = await start(start_gate, upstream, Guide)
    url = gate.proxy_url + "/old"
    async with client.get(url, headers=ASKED, allow_redirects=False) as response:
        assert response.status == 303
        assert response.headers["Location"] == PREFIX + "/new?x=1"


async def test_cookies_of_a_plugins_response_are_the_upstreams(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    class Sets(Plugin):
        name = "sets"

        def request(self, exchange: Exchange, request: OutgoingRequest) -> Response:
            return Response(headers=[("Set-Cookie", "a=b; Path=/x"), ("Connection", "close")])

    gate = await start(start_gate, upstream, Sets)
    async with client.get(gate.proxy_url + "/", headers=ASKED) as response:
        assert response.headers["Set-Cookie"] == f"a=b; Path={PREFIX}/x"


async def test_addresses_and_cookies_that_a_plugin_adds_are_mapped(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    class Adds(Plugin):
        name = "adds"

        def response(self, exchange: Exchange, response: OutgoingResponse) -> None:
            response.headers.add("Link", "</style.css>; rel=preload")
            response.headers.add("Set-Cookie", "a=b; Path=/x")

    gate = await start(start_gate, upstream, Adds)
    async with client.get(gate.proxy_url + "/x", headers=ASKED) as response:
        assert response.headers["Link"] == f"<{PREFIX}/style.css>; rel=preload"
        assert response.headers["Set-Cookie"] == f"a=b; Path={PREFIX}/x"


class Tells(Plugin):
    """Says who is asking, in all phases of an exchange."""

    name = "tells"
    matches = Match(content_types=("text/html",))
    needs = Needs.TEXT

    async def request(self, exchange: Exchange, request: OutgoingRequest) -> None:
        await asyncio.sleep(0)
        exchange.state["user"] = exchange.client.user_id
        exchange.state["seen"] = 1

    def response(self, exchange: Exchange, response: OutgoingResponse) -> None:
        exchange.state["seen"] += 1
        response.headers["X-User"] = exchange.state["user"]
        response.status = 203

    def text(self, context: Exchange, text: str) -> list[TextEdit]:
        state, client = context.state, context.client
        assert client.expires_at is not None
        shown = {
            "user": state["user"],
            "seen": state["seen"],
            "id": bool(context.id),
            "scope": client.scope,
            "address": client.address,
            "token": [value for value in context.request_headers.values() if TOKEN in value],
            "cookie": context.request_headers.get("Cookie"),
        }
        return [TextEdit(0, len(text), json.dumps(shown))]


async def test_one_exchange_knows_who_is_asking_and_keeps_its_state(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    gate = await start(start_gate, upstream, Tells)
    for token in (TOKEN, OTHER, TOKEN, OTHER):
        user = str(gate.tokens.known[token].user_id)
        headers = {"X-Access-Token": token, "Cookie": f"a=b; zenzefi_access_token={token}"}
        async with client.get(gate.proxy_url + "/page", headers=headers) as response:
            assert (response.status, response.headers["X-User"]) == (203, user)
            said = json.loads(await response.read())
        assert said == {
            "user": user,
            "seen": 2,
            "id": True,
            "scope": "full",
            "address": "127.0.0.1",
            "token": [],
            "cookie": "a=b",
        }


async def test_nothing_of_one_exchange_is_in_another_with_the_same_head(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    class Counts(Plugin):
        name = "counts"

        def request_headers(self, context: Exchange, headers: Any) -> None:
            context.state["count"] = context.state.get("count", 0) + 1

        def response_headers(self, context: Exchange, headers: Any) -> None:
            headers["X-Count"] = f"{context.state['count']} {context.id}"

    gate = await start(start_gate, upstream, Counts)
    seen = set()
    for _ in range(5):
        async with client.get(gate.proxy_url + "/x", headers=ASKED) as response:
            count, _, request_id = response.headers["X-Count"].partition(" ")
            assert (count, request_id) == ("1", response.headers["X-Request-ID"])
            seen.add(request_id)
    assert len(seen) == 5


# --- contents


def whole(*, failing: str = "pass") -> type[Plugin]:
    class Whole(Plugin):
        name = "whole"
        longest_body = 100
        on_failure = failing  # type: ignore[assignment] # a value of the test

        async def request_body(self, exchange: Exchange, body: bytes) -> bytes | Response | None:
            await asyncio.sleep(0)
            if body == b"answer":
                return Response.text("answered", 200)
            return body.upper() + b"!"

    return Whole


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_whole_content_is_replaced(
    start_gate: GateFactory, upstream: str, client: ClientSession, is_chunked: bool
) -> None:
    async def pieces() -> Any:
        yield b"he"
        yield b"llo"

    gate = await start(start_gate, upstream, whole())
    data = pieces() if is_chunked else b"hello"
    said = await echoed(client, gate.proxy_url + "/x", method="POST", data=data)
    assert (said["body"], said["length"]) == ("HELLO!", "6")
    async with client.post(gate.proxy_url + "/x", headers=ASKED, data=b"answer") as response:
        assert (await response.text(), response.headers.get("X-Served")) == ("answered", None)


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_content_that_is_too_long_passes_or_is_refused(
    start_gate: GateFactory, upstream: str, client: ClientSession, is_chunked: bool
) -> None:
    long = b"x" * 300_000

    async def pieces() -> Any:
        for at in range(0, len(long), 50_000):
            yield long[at : at + 50_000]

    for failing, status in (("pass", 200), ("refuse", 413)):
        gate = await start(start_gate, upstream, whole(failing=failing))
        data = pieces() if is_chunked else long
        async with client.post(gate.proxy_url + "/x", headers=ASKED, data=data) as response:
            assert response.status == status
            if status == 200:
                assert json.loads(await response.read())["body"] == long.decode()


@pytest.mark.parametrize("changes", [False, True])
async def test_a_content_is_changed_on_its_way(
    start_gate: GateFactory, upstream: str, client: ClientSession, changes: bool
) -> None:
    class Pieces(Plugin):
        name = "pieces"
        changes_length = changes

        def request_chunk(self, exchange: Exchange, data: bytes, final: bool) -> bytes:
            end = b"." if final and changes else b""
            return data.replace(b"a", b"b") + end

    gate = await start(start_gate, upstream, Pieces)
    data = b"a" * 300_000
    said = await echoed(client, gate.proxy_url + "/x", method="POST", data=data)
    assert said["body"] == "b" * 300_000 + ("." if changes else "")
    assert said["length"] == (None if changes else "300000")


# --- failures


def failing(kind: str, on_failure: str) -> type[Plugin]:
    async def raises(*_: object) -> None:
        raise ValueError("boo")

    async def waits(*_: object) -> None:
        await asyncio.Event().wait()

    def returns(*_: object) -> str:
        return "text"

    def splits(_self: object, _exchange: object, request: OutgoingRequest) -> None:
        request.headers["X-A"] = "b\r\nc: d"

    def climbs(_self: object, _exchange: object, request: OutgoingRequest) -> None:
        request.path = "/a/%2e%2e/admin"

    async def cancels(*_: object) -> None:
        raise asyncio.CancelledError

    hooks = {
        "raises": raises,
        "waits": waits,
        "returns": returns,
        "splits": splits,
        "climbs": climbs,
        "cancels": cancels,
    }
    members = {"name": "bad", "request": hooks[kind], "on_failure": on_failure, "timeout": 0.05}
    return type("Bad", (Plugin,), members)


KINDS = ("raises", "waits", "returns", "splits", "climbs", "cancels")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_hook_that_fails_is_left_out_or_the_request_is_refused(
    start_gate: GateFactory, upstream: str, client: ClientSession, kind: str
) -> None:
    gate = await start(start_gate, upstream, failing(kind, "pass"))
    said = await echoed(client, gate.proxy_url + "/x")
    assert said["target"] == "/x"
    assert "X-A" not in dict(said["headers"])
    gate = await start(start_gate, upstream, failing(kind, "refuse"))
    for _ in range(7):  # also after the circuit has opened
        async with client.get(gate.proxy_url + "/x", headers=ASKED) as response:
            assert response.status == 503
            assert (await response.json())["code"] == "plugin_failed"


async def test_an_upstream_that_is_down_gets_a_plugins_page(
    start_gate: GateFactory, client: ClientSession, unused_tcp_port: int
) -> None:
    class Sorry(Plugin):
        name = "sorry"

        def upstream_error(self, exchange: Exchange, error: UpstreamError) -> Response:
            text = f"<p>{error.code} {exchange.path} <a href=/status>status</a>"
            return Response.text(text, 503, "text/html")

    gate = await start(start_gate, f"http://127.0.0.1:{unused_tcp_port}", Sorry)
    for _ in range(2):
        async with client.get(gate.proxy_url + "/x", headers=ASKED) as response:
            assert response.status == 503
            assert (await response.text()).startswith("<p>upstream_unreachable /x ")
            assert response.headers["Cache-Control"] == "private"

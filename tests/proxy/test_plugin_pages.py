"""Pages and files of plugins: who may open them, what is refused, and failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar, web
from yarl import URL

from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, MountFactory, RunningGate
from tests.kit.visiting_browser import VisitingBrowser
from tests.kit.waiting import until
from zenzefi.plugins import Exchange, Plugin, Response, RouteRequest, route
from zenzefi.proxy.setup import ENGINE
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins import routes
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.plugins.watchdog import Blocked

ASKED = {"X-Access-Token": TOKEN}
OTHER = "b" * 64
BASE = "/.zenzefi/plugins/desk"


@dataclass
class Held:
    """The events of the page that waits."""

    entered: asyncio.Event
    leave: asyncio.Event


HELD: list[Held] = []


class Desk(Plugin):
    """Pages of every kind."""

    name = "desk"
    timeout = 0.2
    longest_body = 10

    @route("/")
    def front(self, exchange: Exchange, request: RouteRequest) -> Response:
        state = exchange.state.setdefault("seen", 0)
        client = exchange.client
        shown = f"{client.user_id} {client.scope} {state} {request.query.get('q', '')}"
        headers = [("Set-Cookie", "a=b; Path=/x"), ("Link", "</style.css>; rel=preload")]
        page = f'<a href="/next">{shown}</a>'.encode()
        return Response(headers=[("Content-Type", "text/html"), *headers], body=page)

    @route("/items/{name}", methods=("GET", "POST"))
    async def item(self, exchange: Exchange, request: RouteRequest) -> Response:
        return Response.text(f"{request.method} {request.values['name']} {request.body.decode()}")

    @route("/open", methods=("GET", "POST"), anonymous=True)
    def open(self, exchange: Exchange, request: RouteRequest) -> Response:
        client = exchange.client
        known = [client.user_id, client.token_id, client.scope, client.expires_at, client.device]
        token = exchange.request_headers.get("X-Access-Token")
        return Response.text(f"{known} {token} {request.body.decode()}")

    @route("/fails")
    def fails(self, exchange: Exchange, request: RouteRequest) -> Response:
        raise SystemExit("secret of the plugin")

    @route("/invalid")
    def invalid(self, exchange: Exchange, request: RouteRequest) -> Response:
        return Response(headers=[("X-Bad", "a\r\nSet-Cookie: b")])

    @route("/waits")
    async def waits(self, exchange: Exchange, request: RouteRequest) -> Response:
        if HELD:
            HELD[0].entered.set()
            await HELD[0].leave.wait()
        else:
            await asyncio.Event().wait()
        return Response.text("waited")

    @route("/blocks")
    def blocks(self, exchange: Exchange, request: RouteRequest) -> Response:
        raise Blocked("one second of CPU time")


@pytest.fixture
def upstream_app() -> web.Application:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(text=f"the upstream's {request.raw_path}")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo)
    return app


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    """A client without credentials."""
    async with ClientSession(auto_decompress=False, cookie_jar=DummyCookieJar()) as session:
        yield session


@pytest.fixture
def at_once() -> bool:
    """These requests always have a task."""
    return True


@pytest.fixture
async def desk(start_gate: GateFactory, upstream: str) -> RunningGate:
    """A gate with the pages."""
    return await with_plugins(start_gate, upstream, Desk)


async def with_plugins(
    start: GateFactory, upstream: str, *plugins: type[Plugin], **settings: Any
) -> RunningGate:
    engine = Engine(Registry(entry_points=False, classes=plugins))
    gate = await start(upstream, engine=engine, **settings)
    for token in (TOKEN, OTHER):
        gate.tokens.add(token, activated=True)
    return gate


def status_of(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


async def test_a_page_knows_who_is_asking_and_is_mapped(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    registry = Registry([bundled("plugins")], entry_points=False, classes=[Desk])
    desk = await start_gate(upstream, engine=Engine(registry))
    desk.tokens.add(OTHER, activated=True)
    for token in (TOKEN, OTHER, TOKEN):
        user = desk.tokens.known[token].user_id
        url = f"{desk.proxy_url}{BASE}/?q=x"
        async with client.get(url, headers={"X-Access-Token": token}) as response:
            assert response.status == 200
            assert f'<a href="{PREFIX}/next">{user} full 0 x</a>' in await response.text()
            assert response.headers["Set-Cookie"] == f"a=b; Path={PREFIX}/x"
            assert response.headers["Link"] == f"<{PREFIX}/style.css>; rel=preload"
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
            assert response.headers["Cache-Control"].startswith("no-store")
            assert response.headers["X-Content-Type-Options"] == "nosniff"
        async with client.head(url, headers={"X-Access-Token": token}) as response:
            assert (response.status, await response.read()) == (200, b"")


async def test_without_a_token_only_what_is_declared_anonymous_is_served(
    desk: RunningGate, client: ClientSession
) -> None:
    for path in ("/", "/items/a", "/fails", "/nothing", "/static/x.js"):
        async with client.get(f"{desk.proxy_url}{BASE}{path}") as response:
            assert response.status == 401, path
    async with client.get(f"{desk.proxy_url}/.zenzefi/plugins/other/") as response:
        assert response.status == 401
    # The handler of an anonymous page does not learn who is asking, and not the token either.
    for headers in ({}, ASKED, {"X-Access-Token": "x"}):
        async with client.post(
            f"{desk.proxy_url}{BASE}/open", headers=headers, data=b"hello"
        ) as response:
            assert response.status == 200
            assert await response.text() == "['', '', '', None, None] None hello"
            assert "no-store" in response.headers["Cache-Control"]
    async with client.get(f"{desk.proxy_url}{BASE}/open", data=b"x" * 11) as response:
        assert response.status == 413


async def test_a_scope_must_cover_the_path_of_a_page(
    start_gate: GateFactory, upstream: str
) -> None:
    scopes = {"lights": ["/lights/**"], "desk": [f"GET {BASE}/items/*"]}
    gate = await with_plugins(start_gate, upstream, Desk, scopes=scopes)
    for scope, page, item in (("lights", 403, 403), ("desk", 403, 200)):
        gate.tokens.add(TOKEN, scope, activated=True)
        assert status_of(await gate.request(f"{PREFIX}{BASE}/")) == page
        assert status_of(await gate.request(f"{PREFIX}{BASE}/items/a")) == item
    sent = await gate.request(
        f"{PREFIX}{BASE}/items/a", "Content-Length: 1", method="POST", body=b"x"
    )
    assert status_of(sent) == 403
    # A spelling of the path that the gate does not read as a plugin's goes to the upstream.
    gate.tokens.add(TOKEN, activated=True)
    raw = await gate.request(f"{PREFIX}/.zenzefi/%70lugins/desk/fails")
    assert b"the upstream's" in raw


async def test_the_upstream_gets_no_request_for_a_page_and_keeps_its_own(
    desk: RunningGate, client: ClientSession
) -> None:
    for path, status in (
        (f"{BASE}/nothing", 404),
        (f"{BASE}", 404),
        ("/.zenzefi/plugins/other/", 404),
        (f"{BASE}/items/a%2Fb", 404),
        (f"{BASE}/items/%FF", 404),
        (f"{BASE}/items/a/b", 404),
        (f"{BASE}/items/a%20b", 200),
        ("/desk/", 200),
        ("/.zenzefi/other", 200),
    ):
        url = desk.proxy_url + path
        async with client.get(URL(url, encoded=True), headers=ASKED) as response:
            assert response.status == status, path
            is_upstreams = "the upstream's" in await response.text()
            assert is_upstreams is not path.startswith("/.zenzefi/plugins"), path
    upgrade = (
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {'A' * 22}==",
    )
    head = "\r\n".join(
        (f"GET {PREFIX}{BASE}/ HTTP/1.1", "Host: x", f"X-Access-Token: {TOKEN}", *upgrade)
    )
    raw = await desk.raw(f"{head}\r\nConnection: Upgrade, close\r\n\r\n".encode(), timeout=2)
    assert status_of(raw) == 404


async def test_methods_and_contents_have_limits(desk: RunningGate, client: ClientSession) -> None:
    url = f"{desk.proxy_url}{BASE}/items/a"
    async with client.post(url, headers=ASKED, data=b"0123456789") as response:
        assert await response.text() == "POST a 0123456789"
    async with client.post(
        url, headers={**ASKED, "Expect": "100-continue"}, data=b"x", expect100=True
    ) as response:
        assert await response.text() == "POST a x"

    async def chunks() -> Any:
        yield b"01234"
        yield b"567890"

    for content in (b"01234567890", chunks()):
        async with client.post(url, headers=ASKED, data=content) as response:
            assert response.status == 413
    async with client.delete(url, headers=ASKED) as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD, POST")


async def test_another_site_can_not_use_the_cookie_for_a_change(
    start_mount: MountFactory, upstream: str, client: ClientSession
) -> None:
    engine = Engine(Registry(entry_points=False, classes=[Desk]))
    mount = await start_mount(upstream, engine=engine)
    mount.gate.tokens.add(TOKEN, activated=True)
    host = mount.host.get("Host", f"127.0.0.1:{mount.gate.port}")
    browser = VisitingBrowser(mount.gate).sign_in(host.partition(":")[0])
    held = browser.cookies[host.partition(":")[0]]
    cookie = "; ".join(f"{name}={value}" for name, value in held.items())
    own = {"Host": host, "Cookie": cookie, "User-Agent": browser.agent}
    url = f"{mount.url}{BASE}/items/a"
    for named in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        async with client.post(url, headers={**own, **named}, data=b"x") as response:
            assert response.status == 403
            assert (await response.json())["code"] == "cross_site_refused"
        async with client.get(url, headers={**own, **named}) as response:
            assert response.status == 200
    same = {**own, "Origin": mount.origin, "Sec-Fetch-Site": "same-origin"}
    async with client.post(url, headers=same, data=b"x") as response:
        assert await response.text() == "POST a x"


async def test_a_page_that_fails_fails_alone(desk: RunningGate, client: ClientSession) -> None:
    entry = desk.app[ENGINE].registry["desk"]
    for path in ("/fails", "/invalid", "/waits"):
        for _ in range(3):  # more failures than suspend a plugin
            async with client.get(f"{desk.proxy_url}{BASE}{path}", headers=ASKED) as response:
                assert response.status == 500
                said = await response.json()
            assert said["code"] == "plugin_page_failed"
            assert "secret" not in said["detail"]
    assert entry.statistics.errors == 9
    assert not entry.is_suspended
    assert entry.running == 0
    async with client.get(f"{desk.proxy_url}{BASE}/", headers=ASKED) as response:
        assert response.status == 200
    for status in (500, 503):  # what blocks the event loop is left out at once
        async with client.get(f"{desk.proxy_url}{BASE}/blocks", headers=ASKED) as response:
            assert response.status == status
    async with client.get(f"{desk.proxy_url}{BASE}/", headers=ASKED) as response:
        assert response.status == 200


async def test_calls_at_a_time_are_bounded(
    start_gate: GateFactory,
    upstream: str,
    client: ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Desk, "timeout", 30.0)
    monkeypatch.setattr(routes, "MOST_CALLS", 1)
    held = Held(asyncio.Event(), asyncio.Event())
    monkeypatch.setattr(f"{__name__}.HELD", [held])
    gate = await with_plugins(start_gate, upstream, Desk)

    async def waits() -> int:
        async with client.get(f"{gate.proxy_url}{BASE}/waits", headers=ASKED) as response:
            return response.status

    first = asyncio.create_task(waits())
    await held.entered.wait()
    assert await waits() == 503
    entry = gate.app[ENGINE].registry["desk"]
    assert entry.statistics.skipped == 1
    first.cancel()  # a client that leaves ends the call
    await asyncio.gather(first, return_exceptions=True)
    await until(lambda: entry.running == 0)


async def test_contents_that_clients_without_a_token_send_are_bounded(
    start_gate: GateFactory,
    upstream: str,
    client: ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routes, "MOST_ANONYMOUS_CONTENTS", 1)
    gate = await with_plugins(start_gate, upstream, Desk)
    entry, finish = gate.app[ENGINE].registry["desk"], asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        await finish.wait()
        yield b"y"

    async def post(content: Any, path: str = "/open", **headers: str) -> tuple[int, str]:
        url = f"{gate.proxy_url}{BASE}{path}"
        async with client.post(url, data=content, headers=headers) as response:
            return response.status, await response.text()

    first = asyncio.create_task(post(slow()))
    await until(lambda: entry.anonymous_contents == 1)
    assert (await post(b"x"))[0] == 503
    assert await post(b"x", "/items/a", **ASKED) == (200, "POST a x")
    async with client.get(f"{gate.proxy_url}{BASE}/open") as response:
        assert response.status == 200
    finish.set()
    assert (await first)[1].endswith(" xy")
    assert entry.anonymous_contents == 0
    assert (await post(b"x"))[0] == 200


async def test_in_shadow_mode_a_plugin_has_no_pages(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    registry = Registry(entry_points=False, classes=[Desk], options={"desk": {"shadow": True}})
    gate = await start_gate(upstream, engine=Engine(registry))
    async with client.get(f"{gate.proxy_url}{BASE}/", headers=ASKED) as response:
        assert response.status == 404


@pytest.mark.parametrize("anonymous", [False, True])
async def test_a_file_is_sent_whole_or_not_at_all(
    start_gate: GateFactory, upstream: str, tmp_path: Path, anonymous: bool
) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "x.js").write_text("fetch('/x')")
    (tmp_path / "files.py").write_text(
        "from zenzefi.plugins import Plugin, StaticFiles\n"
        "class Files(Plugin):\n"
        "    name = 'files'\n"
        f"    static = StaticFiles(anonymous={anonymous})\n"
    )
    registry = Registry([bundled("plugins"), tmp_path], entry_points=False)
    gate = await start_gate(upstream, engine=Engine(registry))
    target = PREFIX + registry["files"].plugin.address("/static/x.js")
    token = None if anonymous else TOKEN
    head, _, body = (await gate.request(target, token=token)).partition(b"\r\n\r\n")
    assert (status_of(head), body) == (200, b"fetch('/x')")  # scripts are not mapped
    assert b"max-age=31536000, immutable" in head
    tag = head.partition(b"ETag: ")[2].partition(b"\r\n")[0].decode()
    again = await gate.request(target, f"If-None-Match: {tag}", token=token)
    head, _, body = again.partition(b"\r\n\r\n")
    assert (status_of(head), body) == (304, b"")
    assert b"content-length: 0" not in head.lower()
    assert b"transfer-encoding" not in head.lower()
    head, _, body = (await gate.request(target, method="HEAD", token=token)).partition(b"\r\n\r\n")
    assert (status_of(head), body) == (200, b"")
    assert b"content-length: 11" in head.lower()

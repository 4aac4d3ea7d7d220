"""How many connections the upstream sees, and whose requests get them, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import hashlib
import json
import resource
import socket
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
from aiohttp import ClientSession, TCPConnector, WSServerHandshakeError

from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate
from tests.kit.waiting import until
from zenzefi.proxy.upstream import pool as upstream_module

pytestmark = pytest.mark.every_loop

OTHER = "O" * 64
SEEN = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n"
ACCEPT = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


class CountingUpstream(asyncio.Protocol):
    """Serves by path, and counts the connections that are open at the same time."""

    server: ClassVar[asyncio.Server]
    url: ClassVar[str]
    open: ClassVar[set[CountingUpstream]]
    made: ClassVar[int]
    most: ClassVar[int] = 0

    @classmethod
    async def serve(cls) -> Any:
        kind: Any = type("Counting", (cls,), {"open": set(), "made": 0})
        loop = asyncio.get_running_loop()
        kind.server = await loop.create_server(kind, "127.0.0.1", 0, backlog=4096)
        kind.url = f"http://127.0.0.1:{kind.server.sockets[0].getsockname()[1]}"
        return kind

    @classmethod
    async def stop(cls) -> None:
        cls.server.close()
        for connection in list(cls.open):
            connection.transport.abort()
        await asyncio.sleep(0.01)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.data = b""
        self.is_socket = False
        kind = type(self)
        kind.made += 1
        kind.open.add(self)
        kind.most = max(kind.most, len(kind.open))

    def connection_lost(self, exc: Any) -> None:
        type(self).open.discard(self)

    def data_received(self, data: Any) -> None:
        self.data += data
        if self.is_socket:
            self.read_frames()
            return
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head, self.data = self.data[:end], self.data[end + 4 :]
            self.respond(head)

    def read_frames(self) -> None:
        """Short masked frames (RFC 6455, 5.2): a close ends the connection, the rest is ignored."""
        while len(self.data) >= 2 and len(self.data) >= (size := 6 + (self.data[1] & 0x7F)):
            if self.data[0] == 0x88:
                self.transport.close()
            self.data = self.data[size:]

    def respond(self, head: Any) -> None:
        path = head.split(b" ")[1].partition(b"?")[0]
        loop = asyncio.get_running_loop()
        if path == b"/socket":
            key = head.lower().partition(b"sec-websocket-key:")[0]
            line = head[len(key) :].split(b":", 1)[1].split(b"\r\n")[0].strip()
            accept_key = hashlib.sha1(line + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            self.transport.write(
                ACCEPT + b"Sec-WebSocket-Accept: " + base64.b64encode(accept_key) + b"\r\n\r\n"
            )
            self.is_socket = True
        elif path == b"/events":
            self.transport.write(STREAM)
        elif path == b"/never":
            return
        elif path == b"/slow":
            loop.call_later(0.05, self.transport.write, SEEN)
        elif path == b"/last":
            self.transport.write(SEEN[:-2] + b"o")
        elif path == b"/cut":
            self.transport.write(SEEN[:-1])
            self.transport.close()
        elif path == b"/close":
            self.transport.write(SEEN.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))
            self.transport.close()
        elif head.startswith(b"HEAD "):
            self.transport.write(SEEN[:-2])
        else:
            self.transport.write(SEEN)


@pytest.fixture
async def counting() -> AsyncIterator[Any]:
    server = await CountingUpstream.serve()
    yield server
    await server.stop()


@pytest.fixture
async def session() -> AsyncIterator[Any]:
    connector = TCPConnector(limit=0)
    async with ClientSession(connector=connector) as session:
        yield session


def of(token: str) -> dict[str, Any]:
    return {"X-Access-Token": token}


@pytest.mark.parametrize("total", [1, 2, 4])
async def test_the_upstream_never_sees_more_connections_than_the_setting(
    start_gate: GateFactory, counting: Any, session: ClientSession, total: int
) -> None:
    """Requests on both paths, streams, WebSockets, broken ones, clients that leave: one bound."""
    gate = await start_gate(counting.url, upstream_max_connections=total, upstream_queue_timeout=3)
    tokens = [TOKEN, *(letter * 64 for letter in "ABCD")]
    for token in tokens[1:]:
        gate.tokens.add(token, activated=True)
    statuses: Any = Counter()

    async def request(number: int) -> None:
        token = tokens[number % len(tokens)]
        path = ("/x", "/slow", "/cut", "/close", "/x")[number % 5]
        method = ("GET", "POST", "GET", "GET", "HEAD", "DELETE", "GET")[number % 7]
        # An Accept-Encoding of each kind makes header blocks of both paths.
        extra = {"Range": "bytes=0-"} if number % 3 == 0 else {}
        with contextlib.suppress(Exception):
            async with session.request(
                method, f"{gate.proxy_url}{path}?{number}", headers=of(token) | extra
            ) as response:
                await response.read()
                statuses[response.status] += 1

    async def leave(number: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await request(number)

    async def websocket(number: int) -> None:
        token = tokens[number % len(tokens)]
        try:
            async with session.ws_connect(f"{gate.proxy_url}/socket", headers=of(token)):
                await asyncio.sleep(0.1)
                statuses[101] += 1
        except WSServerHandshakeError as error:
            statuses[error.status] += 1

    async def stream(number: int) -> None:
        headers = of(tokens[number % len(tokens)]) | {"Accept": "text/event-stream"}
        async with session.get(f"{gate.proxy_url}/events", headers=headers) as response:
            statuses[response.status] += 1
            if response.status == 200:
                await response.content.readany()
                await asyncio.sleep(0.1)

    jobs = []
    for number in range(180):
        kind = (request, request, websocket, leave, request, stream)[number % 6]
        jobs.append(asyncio.ensure_future(kind(number)))
        if number % 40 == 39:
            await asyncio.sleep(0.05)
    await asyncio.gather(*jobs)
    assert counting.most <= total
    assert set(statuses) <= {101, 200, 429, 502, 503}
    assert statuses[200] > 40
    if total > 1:
        assert statuses[101]
    budget = gate.gate.upstream.budget
    await until(lambda: (budget.short, budget.long_lived, budget.waiting) == (0, 0, 0))


async def test_a_thousand_idle_streams_of_one_token_delay_no_other(
    start_gate: GateFactory, counting: Any, session: ClientSession
) -> None:
    wanted = 4200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    streams = 1000 if resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= wanted else 150
    gate = await start_gate(counting.url, upstream_connect_timeout=2, upstream_queue_timeout=2)
    others = [f"{number:064d}" for number in range(40)]
    for token in others:
        gate.tokens.add(token, activated=True)
    opened = []

    async def stream(number: int) -> None:
        # Every other one is not known to be a stream before its response has come.
        headers = of(TOKEN) | ({"Accept": "text/event-stream"} if number % 2 else {})
        response = await session.get(f"{gate.proxy_url}/events?{number}", headers=headers)
        opened.append(response)

    for start in range(0, streams, 50):
        await asyncio.gather(*(stream(start + number) for number in range(50)))
    statuses = Counter(response.status for response in opened)
    limits = gate.gate.upstream.budget.limits
    assert statuses == {200: limits.long_lived_per_token, 429: streams - statuses[200]}

    async def request(token: str, number: int) -> Any:
        async with session.get(f"{gate.proxy_url}/x?{number}", headers=of(token)) as response:
            return response.status

    responses = [await request(token, 0) for token in (*others, TOKEN)]
    responses += await asyncio.gather(*(request(token, n) for token in others for n in range(6)))
    assert set(responses) == {200}
    async with session.ws_connect(f"{gate.proxy_url}/socket", headers=of(others[0])) as ws:
        assert not ws.closed
    for response in opened:
        response.close()
    await until(lambda: gate.gate.upstream.budget.long_lived == 0)


async def test_a_flood_of_slow_requests_of_one_token_leaves_the_others_their_turns(
    start_gate: GateFactory, counting: Any, session: ClientSession
) -> None:
    gate = await start_gate(counting.url, upstream_max_connections=6, upstream_queue_timeout=20)
    gate.tokens.add(OTHER, activated=True)
    order = []

    async def request(token: str, number: int) -> Any:
        async with session.get(f"{gate.proxy_url}/slow?{number}", headers=of(token)) as response:
            await response.read()
            order.append(token)
            return response.status

    flood = [asyncio.ensure_future(request(TOKEN, number)) for number in range(60)]
    await until(lambda: gate.gate.upstream.budget.waiting > 35)
    before = len(order)
    assert [await request(OTHER, number) for number in range(5)] == [200] * 5
    assert order.count(TOKEN) - before < 30, "five short requests waited for half of the flood"
    assert set(await asyncio.gather(*flood)) == {200}
    assert counting.most <= 6


async def error_of(
    gate: RunningGate, target: Any, *headers: str, token: str = TOKEN
) -> tuple[Any, ...]:
    response = await gate.request(target, "Accept: application/json", *headers, token=token)
    head, _, body = response.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["code"], b"\r\nRetry-After: " in head


async def test_waiting_in_vain_is_503_of_its_own_and_no_time_out(
    start_gate: GateFactory, counting: Any, session: ClientSession
) -> None:
    """Waiting for a connection has a separate timeout and a separate error."""
    gate = await start_gate(
        counting.url,
        upstream_max_connections=2,
        upstream_queue_timeout=0.3,
        upstream_connect_timeout=0.1,
    )
    gate.tokens.add(OTHER, activated=True)
    held = [
        asyncio.ensure_future(session.get(gate.proxy_url + "/never", headers=of(token)))
        for token in (TOKEN, OTHER)
    ]
    await until(lambda: gate.gate.upstream.budget.short == 2)
    assert await error_of(gate, PREFIX + "/x") == (503, "upstream_busy", True)
    for task in held:
        task.cancel()


async def test_a_tokens_own_share_is_429(
    start_gate: GateFactory, counting: Any, session: ClientSession
) -> None:
    gate = await start_gate(
        counting.url, upstream_connections_per_token=1, upstream_queue_timeout=0.3
    )
    held = asyncio.ensure_future(session.get(gate.proxy_url + "/never", headers=of(TOKEN)))
    await until(lambda: gate.gate.upstream.budget.short == 1)
    assert await error_of(gate, PREFIX + "/x") == (429, "too_many_connections", True)
    held.cancel()


async def test_a_full_queue_refuses_at_once(
    start_gate: GateFactory, counting: Any, session: ClientSession
) -> None:
    gate = await start_gate(
        counting.url, upstream_max_connections=1, upstream_queue_size=2, upstream_queue_timeout=30
    )
    tasks = [
        asyncio.ensure_future(session.get(gate.proxy_url + "/never", headers=of(TOKEN)))
        for _ in range(2)
    ]
    await until(lambda: gate.gate.upstream.budget.waiting == 1)
    assert (await error_of(gate, PREFIX + "/x"))[:2] == (429, "too_many_connections")
    for task in tasks:
        task.cancel()
    await until(lambda: gate.gate.upstream.budget.open == 0)


@pytest.mark.parametrize("kind", ["websocket", "event source", "stream by its type"])
async def test_more_long_lived_ones_are_refused_and_the_open_ones_stay(
    start_gate: GateFactory, counting: Any, session: ClientSession, kind: str
) -> None:
    gate = await start_gate(counting.url, upstream_max_connections=4)
    gate.tokens.add(OTHER, activated=True)
    third = "3" * 64
    fourth = "4" * 64
    for token in (third, fourth):
        gate.tokens.add(token, activated=True)
    open_ = [
        await session.ws_connect(gate.proxy_url + "/socket", headers=of(token))
        for token in (TOKEN, OTHER, third)
    ]

    async def status(token: str) -> tuple[Any, ...]:
        if kind == "websocket":
            with pytest.raises(WSServerHandshakeError) as refused:
                await session.ws_connect(gate.proxy_url + "/socket", headers=of(token))
            return refused.value.status, "Retry-After" in (refused.value.headers or {})
        headers = {"Accept": "text/event-stream"} if kind == "event source" else {}
        async with session.get(gate.proxy_url + "/events", headers=of(token) | headers) as response:
            return response.status, "Retry-After" in response.headers

    assert await status(fourth) == (503, True)
    assert await status(TOKEN) == (429, True)
    assert counting.most <= 4
    for websocket in open_:
        await websocket.ping()
        assert not websocket.closed
    await open_.pop().close()
    await until(lambda: gate.gate.upstream.budget.long_lived == 2)
    async with session.ws_connect(gate.proxy_url + "/socket", headers=of(fourth)) as websocket:
        assert not websocket.closed
    for websocket in open_:
        await websocket.close()


async def test_a_request_that_lasts_becomes_long_lived(
    start_gate: GateFactory, counting: Any, session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_module, "LONG_LIVED_SECONDS", 0.2)
    gate = await start_gate(counting.url, upstream_connections_per_token=1)
    budget = gate.gate.upstream.budget
    async with session.get(gate.proxy_url + "/last", headers=of(TOKEN)):
        await until(lambda: (budget.short, budget.long_lived) == (0, 1))
        assert (await gate.request(PREFIX + "/x")).startswith(b"HTTP/1.1 200")
        # The account for those that last is full: this one stays a short request.
        async with session.get(gate.proxy_url + "/last", headers=of(TOKEN)) as second:
            await asyncio.sleep(1.3)
            assert second.status == 200
            assert (budget.short, budget.long_lived) == (1, 1)
    await until(lambda: (budget.short, budget.long_lived) == (0, 0))


@pytest.mark.parametrize("kind", ["request", "websocket"])
async def test_a_client_that_leaves_gives_up_its_place(
    start_gate: GateFactory, counting: Any, session: ClientSession, kind: str
) -> None:
    gate = await start_gate(counting.url, upstream_max_connections=2, upstream_queue_timeout=60)
    gate.tokens.add(OTHER, activated=True)
    budget = gate.gate.upstream.budget
    held = [
        asyncio.ensure_future(session.get(gate.proxy_url + "/never", headers=of(token)))
        for token in (TOKEN, OTHER)
    ]
    await until(lambda: counting.made == 2)
    upgrade = (
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    head = (
        f"GET {PREFIX}/socket HTTP/1.1\r\nHost: x\r\nX-Access-Token: {TOKEN}\r\n"
        + (upgrade if kind == "websocket" else "")
        + "\r\n"
    ).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(head)
    await until(lambda: budget.waiting == 1)
    writer.transport.abort()
    await until(lambda: budget.waiting == 0)
    assert counting.made == 2
    for task in held:
        task.cancel()


async def test_a_token_that_ended_while_its_request_waited_is_not_sent(
    start_gate: GateFactory, counting: Any, session: ClientSession
) -> None:
    gate = await start_gate(counting.url, upstream_max_connections=1, upstream_queue_timeout=20)
    gate.tokens.add(OTHER, activated=True)
    budget = gate.gate.upstream.budget
    held = asyncio.ensure_future(session.get(gate.proxy_url + "/never", headers=of(OTHER)))
    await until(lambda: budget.short == 1)
    waiting = asyncio.ensure_future(gate.request(PREFIX + "/x"))
    await until(lambda: budget.waiting == 1)
    gate.tokens.revoke()
    made = counting.made
    held.cancel()
    assert (await waiting).startswith(b"HTTP/1.1 401")
    await until(lambda: budget.open == 0)
    assert counting.made == made


async def test_idle_connections_make_room_for_the_other_path(
    start_gate: GateFactory, counting: Any, session: ClientSession
) -> None:
    gate = await start_gate(counting.url, upstream_max_connections=1)
    for number in range(6):
        method = ("GET", "DELETE")[number % 2]
        async with session.request(
            method, f"{gate.proxy_url}/x?{number}", headers=of(TOKEN)
        ) as response:
            assert (response.status, await response.read()) == (200, b"ok")
    assert counting.most == 1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL])
async def test_being_out_of_descriptors_is_not_the_upstreams_fault(
    start_gate: GateFactory,
    counting: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    number: Any,
) -> None:
    gate = await start_gate(counting.url)

    loop = asyncio.get_running_loop()

    async def refused(*args: Any, **options: Any) -> None:
        raise OSError(number, "refused by the test")

    monkeypatch.setattr(loop, "create_connection", refused)
    raw = socket.create_connection(("127.0.0.1", gate.port))
    raw.setblocking(False)
    await loop.sock_sendall(
        raw,
        f"GET {PREFIX}/x HTTP/1.1\r\nHost: x\r\nX-Access-Token: {TOKEN}\r\n"
        "Connection: close\r\n\r\n".encode(),
    )
    response = b""
    async with asyncio.timeout(10):
        while piece := await loop.sock_recv(raw, 65536):
            response += piece
    raw.close()
    assert response.startswith(b"HTTP/1.1 503")
    assert b'"code": "too_many_open_files"' in response
    assert "out of local resources" in caplog.text
    assert "can't be reached" not in caplog.text
    assert gate.gate.upstream.budget.open == 0


async def test_what_is_counted_is_exported(
    start_gate: GateFactory, counting: Any, session: ClientSession
) -> None:
    from zenzefi.observability.metrics import UPSTREAM_CONNECTIONS, UPSTREAM_QUEUE, UPSTREAM_REFUSED

    gate = await start_gate(counting.url, upstream_max_connections=4)
    gate.tokens.add(OTHER, activated=True)

    def value(metric: Any, *labels: Any) -> Any:
        return (metric.labels(*labels) if labels else metric)._value.get()

    before = value(UPSTREAM_REFUSED, "long_lived_token")
    websocket = await session.ws_connect(gate.proxy_url + "/socket", headers=of(TOKEN))
    with pytest.raises(WSServerHandshakeError):
        await session.ws_connect(gate.proxy_url + "/socket", headers=of(TOKEN))
    assert value(UPSTREAM_REFUSED, "long_lived_token") == before + 1
    held = [
        asyncio.ensure_future(session.get(gate.proxy_url + "/never", headers=of(token)))
        for token in (TOKEN, OTHER, OTHER, OTHER)
    ]
    await until(
        lambda: (
            value(UPSTREAM_CONNECTIONS, "long_lived") == 1
            and value(UPSTREAM_CONNECTIONS, "short") == 3
            and value(UPSTREAM_QUEUE) == 1
        )
    )
    for task in held:
        task.cancel()
    await websocket.close()

"""The limit of upstream connections, and how waiting requests share them, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import socket
from collections import Counter
from typing import Any

import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from tests.kit.counting_upstream import CountingUpstream, token_header
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate
from tests.kit.waiting import until

pytestmark = pytest.mark.every_loop


OTHER = "O" * 64


@pytest.mark.parametrize("total", [1, 2, 4])
async def test_the_upstream_never_sees_more_connections_than_the_setting(
    start_gate: GateFactory, counting: type[CountingUpstream], session: ClientSession, total: int
) -> None:
    """Requests, streams, WebSockets, broken ones, clients that leave: one bound."""
    gate = await start_gate(counting.url, upstream_max_connections=total, upstream_queue_timeout=20)
    tokens = [TOKEN, *(letter * 64 for letter in "ABCD")]
    for token in tokens[1:]:
        gate.tokens.add(token, activated=True)
    statuses: Counter[int] = Counter()
    has_websocket = asyncio.Event()  # one of them gets a place before the streams take all

    async def request(number: int) -> None:
        token = tokens[number % len(tokens)]
        path = ("/x", "/slow", "/cut", "/close", "/x")[number % 5]
        method = ("GET", "POST", "GET", "GET", "HEAD", "DELETE", "GET")[number % 7]
        # An Accept-Encoding of each kind makes header blocks of both kinds.
        extra = {"Range": "bytes=0-"} if number % 3 == 0 else {}
        with contextlib.suppress(Exception):
            async with session.request(
                method, f"{gate.proxy_url}{path}?{number}", headers=token_header(token) | extra
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
            async with session.ws_connect(f"{gate.proxy_url}/socket", headers=token_header(token)):
                has_websocket.set()
                await asyncio.sleep(0.1)
                statuses[101] += 1
        except WSServerHandshakeError as error:
            has_websocket.set()
            statuses[error.status] += 1

    async def stream(number: int) -> None:
        await has_websocket.wait()
        headers = token_header(tokens[number % len(tokens)]) | {"Accept": "text/event-stream"}
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


async def test_a_flood_of_slow_requests_of_one_token_leaves_the_others_their_turns(
    start_gate: GateFactory, counting: type[CountingUpstream], session: ClientSession
) -> None:
    gate = await start_gate(counting.url, upstream_max_connections=6, upstream_queue_timeout=20)
    gate.tokens.add(OTHER, activated=True)
    order = []

    async def request(token: str, number: int) -> int:
        async with session.get(
            f"{gate.proxy_url}/held?{number}", headers=token_header(token)
        ) as response:
            await response.read()
            order.append(token)
            return response.status

    flood = [asyncio.ensure_future(request(TOKEN, number)) for number in range(60)]
    budget = gate.gate.upstream.budget
    await until(lambda: budget.waiting == 60 - budget.limits.per_token)
    counting.release()
    before = len(order)
    assert [await request(OTHER, number) for number in range(5)] == [200] * 5
    assert order.count(TOKEN) - before < 30, "five short requests waited for half of the flood"
    assert set(await asyncio.gather(*flood)) == {200}
    assert counting.most <= 6


async def error_of(
    gate: RunningGate, target: str, *headers: str, token: str = TOKEN
) -> tuple[int, str, bool]:
    response = await gate.request(target, "Accept: application/json", *headers, token=token)
    head, _, body = response.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["code"], b"\r\nRetry-After: " in head


async def test_waiting_too_long_for_a_connection_is_503_upstream_busy(
    start_gate: GateFactory, counting: type[CountingUpstream], session: ClientSession
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
        asyncio.ensure_future(session.get(gate.proxy_url + "/never", headers=token_header(token)))
        for token in (TOKEN, OTHER)
    ]
    await until(lambda: gate.gate.upstream.budget.short == 2)
    assert await error_of(gate, PREFIX + "/x") == (503, "upstream_busy", True)
    for task in held:
        task.cancel()


async def test_a_tokens_own_share_is_429(
    start_gate: GateFactory, counting: type[CountingUpstream], session: ClientSession
) -> None:
    gate = await start_gate(
        counting.url, upstream_connections_per_token=1, upstream_queue_timeout=0.3
    )
    held = asyncio.ensure_future(
        session.get(gate.proxy_url + "/never", headers=token_header(TOKEN))
    )
    await until(lambda: gate.gate.upstream.budget.short == 1)
    assert await error_of(gate, PREFIX + "/x") == (429, "too_many_connections", True)
    held.cancel()


async def test_a_full_queue_refuses_at_once(
    start_gate: GateFactory, counting: type[CountingUpstream], session: ClientSession
) -> None:
    gate = await start_gate(
        counting.url, upstream_max_connections=1, upstream_queue_size=2, upstream_queue_timeout=30
    )
    tasks = [
        asyncio.ensure_future(session.get(gate.proxy_url + "/never", headers=token_header(TOKEN)))
        for _ in range(2)
    ]
    await until(lambda: gate.gate.upstream.budget.waiting == 1)
    assert (await error_of(gate, PREFIX + "/x"))[:2] == (429, "too_many_connections")
    for task in tasks:
        task.cancel()
    # A connection that was opened for the second request when the first one left may stay, idle.
    budget = gate.gate.upstream.budget
    await until(lambda: (budget.short, budget.waiting) == (0, 0))


@pytest.mark.parametrize("kind", ["request", "websocket"])
async def test_a_client_that_leaves_gives_up_its_place(
    start_gate: GateFactory, counting: type[CountingUpstream], session: ClientSession, kind: str
) -> None:
    gate = await start_gate(counting.url, upstream_max_connections=2, upstream_queue_timeout=60)
    gate.tokens.add(OTHER, activated=True)
    budget = gate.gate.upstream.budget
    held = [
        asyncio.ensure_future(session.get(gate.proxy_url + "/never", headers=token_header(token)))
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
    start_gate: GateFactory, counting: type[CountingUpstream], session: ClientSession
) -> None:
    gate = await start_gate(counting.url, upstream_max_connections=1, upstream_queue_timeout=20)
    gate.tokens.add(OTHER, activated=True)
    budget = gate.gate.upstream.budget
    held = asyncio.ensure_future(
        session.get(gate.proxy_url + "/never", headers=token_header(OTHER))
    )
    await until(lambda: budget.short == counting.made == 1)
    waiting = asyncio.ensure_future(gate.request(PREFIX + "/x"))
    await until(lambda: budget.waiting == 1)
    gate.tokens.revoke()
    made = counting.made
    held.cancel()
    assert (await waiting).startswith(b"HTTP/1.1 401")
    await until(lambda: budget.open == 0)
    assert counting.made == made


async def test_idle_connections_make_room_for_the_other_path(
    start_gate: GateFactory, counting: type[CountingUpstream], session: ClientSession
) -> None:
    gate = await start_gate(counting.url, upstream_max_connections=1)
    for number in range(6):
        method = ("GET", "DELETE")[number % 2]
        async with session.request(
            method, f"{gate.proxy_url}/x?{number}", headers=token_header(TOKEN)
        ) as response:
            assert (response.status, await response.read()) == (200, b"ok")
    assert counting.most == 1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL])
async def test_being_out_of_descriptors_is_not_the_upstreams_fault(
    start_gate: GateFactory,
    counting: type[CountingUpstream],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    gate = await start_gate(counting.url)

    loop = asyncio.get_running_loop()

    async def refused(*args: object, **options: object) -> None:
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


async def test_connection_counts_are_exported_as_metrics(
    start_gate: GateFactory, counting: type[CountingUpstream], session: ClientSession
) -> None:
    from zenzefi.observability.metrics import UPSTREAM_CONNECTIONS, UPSTREAM_QUEUE, UPSTREAM_REFUSED

    gate = await start_gate(counting.url, upstream_max_connections=4)
    gate.tokens.add(OTHER, activated=True)

    def value(metric: Any, *labels: Any) -> Any:
        return (metric.labels(*labels) if labels else metric)._value.get()

    before = value(UPSTREAM_REFUSED, "long_lived_token")
    websocket = await session.ws_connect(gate.proxy_url + "/socket", headers=token_header(TOKEN))
    with pytest.raises(WSServerHandshakeError):
        await session.ws_connect(gate.proxy_url + "/socket", headers=token_header(TOKEN))
    assert value(UPSTREAM_REFUSED, "long_lived_token") == before + 1
    held = [
        asyncio.ensure_future(session.get(gate.proxy_url + "/never", headers=token_header(token)))
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

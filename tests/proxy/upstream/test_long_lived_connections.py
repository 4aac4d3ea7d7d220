"""Long-lived upstream connections: streams, WebSockets, requests that last."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter

import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from tests.kit.counting_upstream import CountingUpstream, token_header
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory
from tests.kit.waiting import until
from zenzefi.proxy.upstream import pool as upstream_module

pytestmark = pytest.mark.every_loop
OTHER = "O" * 64


async def test_a_thousand_idle_streams_of_one_token_delay_no_other(
    start_gate: GateFactory, counting: type[CountingUpstream], session: ClientSession
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
        headers = token_header(TOKEN) | ({"Accept": "text/event-stream"} if number % 2 else {})
        response = await session.get(f"{gate.proxy_url}/events?{number}", headers=headers)
        opened.append(response)

    for start in range(0, streams, 50):
        await asyncio.gather(*(stream(start + number) for number in range(50)))
    statuses = Counter(response.status for response in opened)
    limits = gate.gate.upstream.budget.limits
    assert statuses == {200: limits.long_lived_per_token, 429: streams - statuses[200]}

    async def request(token: str, number: int) -> int:
        async with session.get(
            f"{gate.proxy_url}/x?{number}", headers=token_header(token)
        ) as response:
            return response.status

    responses = [await request(token, 0) for token in (*others, TOKEN)]
    responses += await asyncio.gather(*(request(token, n) for token in others for n in range(6)))
    assert set(responses) == {200}
    async with session.ws_connect(
        f"{gate.proxy_url}/socket", headers=token_header(others[0])
    ) as ws:
        assert not ws.closed
    for response in opened:
        response.close()
    await until(lambda: gate.gate.upstream.budget.long_lived == 0)


@pytest.mark.parametrize("kind", ["websocket", "event source", "stream by its type"])
async def test_excess_long_lived_connections_are_rejected_and_the_open_ones_stay(
    start_gate: GateFactory, counting: type[CountingUpstream], session: ClientSession, kind: str
) -> None:
    gate = await start_gate(counting.url, upstream_max_connections=4)
    gate.tokens.add(OTHER, activated=True)
    third = "3" * 64
    fourth = "4" * 64
    for token in (third, fourth):
        gate.tokens.add(token, activated=True)
    open_ = [
        await session.ws_connect(gate.proxy_url + "/socket", headers=token_header(token))
        for token in (TOKEN, OTHER, third)
    ]

    async def status(token: str) -> tuple[int, bool]:
        if kind == "websocket":
            with pytest.raises(WSServerHandshakeError) as refused:
                await session.ws_connect(gate.proxy_url + "/socket", headers=token_header(token))
            return refused.value.status, "Retry-After" in (refused.value.headers or {})
        headers = {"Accept": "text/event-stream"} if kind == "event source" else {}
        async with session.get(
            gate.proxy_url + "/events", headers=token_header(token) | headers
        ) as response:
            return response.status, "Retry-After" in response.headers

    assert await status(fourth) == (503, True)
    assert await status(TOKEN) == (429, True)
    assert counting.most <= 4
    for websocket in open_:
        await websocket.ping()
        assert not websocket.closed
    await open_.pop().close()
    await until(lambda: gate.gate.upstream.budget.long_lived == 2)
    async with session.ws_connect(
        gate.proxy_url + "/socket", headers=token_header(fourth)
    ) as websocket:
        assert not websocket.closed
    for websocket in open_:
        await websocket.close()


async def test_a_request_that_lasts_becomes_long_lived(
    start_gate: GateFactory,
    counting: type[CountingUpstream],
    session: ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upstream_module, "LONG_LIVED_SECONDS", 0.2)
    gate = await start_gate(counting.url, upstream_connections_per_token=1)
    budget = gate.gate.upstream.budget
    async with session.get(gate.proxy_url + "/last", headers=token_header(TOKEN)):
        await until(lambda: (budget.short, budget.long_lived) == (0, 1))
        assert (await gate.request(PREFIX + "/x")).startswith(b"HTTP/1.1 200")
        # The account for those that last is full: this one stays a short request.
        async with session.get(gate.proxy_url + "/last", headers=token_header(TOKEN)) as second:
            await asyncio.sleep(1.3)
            assert second.status == 200
            assert (budget.short, budget.long_lived) == (1, 1)
    await until(lambda: (budget.short, budget.long_lived) == (0, 0))

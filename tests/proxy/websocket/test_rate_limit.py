"""What browsers send over WebSockets, held against the limits of their token."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType

from tests.kit.proxy_gates import TOKEN, GateFactory, RunningGate
from zenzefi.observability.metrics import RATE_LIMITED
from zenzefi.settings import SETTINGS


async def closing(ws: Any) -> tuple[Any, ...]:
    """The close that comes after whatever else does."""
    async with asyncio.timeout(10):
        while (message := await ws.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
            pass
        return message.data, message.extra


async def test_a_message_over_the_limit_closes_with_4429_and_the_retry_time(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    gate = await start_gate(upstream, rate_limit_websocket_messages="3/hour")
    refused = RATE_LIMITED.labels("websocket_messages")._value.get()
    async with client.ws_connect(gate.proxy_url + "/socket") as ws:
        await ws.receive_json()
        for _ in range(3):
            await ws.send_str("hello")
            assert (await ws.receive()).data == "hello"
        await asyncio.sleep(0.6)
        await ws.send_str("one too many")
        code, reason = await closing(ws)
    assert code == 4429
    assert reason.startswith("Too many messages. Try again in ")
    assert RATE_LIMITED.labels("websocket_messages")._value.get() == refused + 1


async def test_the_bytes_of_all_sockets_of_a_token_count_together_and_those_of_others_do_not(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    gate = await start_gate(upstream, rate_limit_websocket_bytes="100000/hour")
    gate.tokens.add("U" * 64)
    url = gate.proxy_url + "/socket"
    async with (
        ClientSession(headers={"X-Access-Token": "U" * 64}) as other,
        client.ws_connect(url) as first,
        client.ws_connect(url) as second,
        other.ws_connect(url) as apart,
    ):
        for ws in (first, second, apart):
            await ws.receive_json()
            await ws.send_bytes(b"x" * 60_000)
        assert (await closing(first))[0] == 4429
        assert (await closing(second))[0] == 4429
        assert len((await apart.receive()).data) == 60_000
        await apart.send_str("still here")
        assert (await apart.receive()).data == "still here"


async def test_what_the_upstream_sends_is_not_counted(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    gate = await start_gate(upstream, rate_limit_websocket_bytes="400/hour")
    async with client.ws_connect(gate.proxy_url + "/socket") as ws:
        hello = await ws.receive()
        assert len(hello.data) > 400
        await asyncio.sleep(0.6)
        await ws.send_str("hello")
        assert (await ws.receive()).data == "hello"


@pytest.mark.parametrize("rate", ["off", "1000000/hour"])
async def test_within_the_limits_nothing_happens(
    start_gate: GateFactory, upstream: str, client: ClientSession, rate: str
) -> None:
    gate = await start_gate(
        upstream, rate_limit_websocket_messages=rate, rate_limit_websocket_bytes=rate
    )
    async with client.ws_connect(gate.proxy_url + "/socket") as ws:
        await ws.receive_json()
        for _ in range(100):
            await ws.send_str("hello")
            await ws.receive()
        await asyncio.sleep(0.6)
        await ws.send_str("still here")
        assert (await ws.receive()).data == "still here"


async def test_an_enabled_limit_applies_to_open_websockets(
    gate: RunningGate, client: ClientSession
) -> None:
    async with client.ws_connect(gate.proxy_url + "/socket") as ws:
        await ws.receive_json()
        gate.app[SETTINGS].rate_limit_websocket_messages = "1/hour"
        for _ in range(3):
            await ws.send_str("hello")
        assert (await closing(ws))[0] == 4429


async def test_the_metering_ends_with_the_last_socket(
    gate: RunningGate, client: ClientSession
) -> None:
    def meters() -> Any:
        return [t for t in asyncio.all_tasks() if t.get_name() == "websocket metering"]

    async with client.ws_connect(gate.proxy_url + "/socket") as ws:
        await ws.receive_json()
        assert len(meters()) == 1
    async with asyncio.timeout(5):
        while meters():  # noqa: ASYNC110 - no event announces it
            await asyncio.sleep(0.01)
    assert TOKEN in gate.tokens.known

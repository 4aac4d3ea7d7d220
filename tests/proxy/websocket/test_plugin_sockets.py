"""Plugins with one object for a WebSocket: open, messages, their own messages, close."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientSession, WSServerHandshakeError, web

from tests.kit.proxy_gates import TOKEN, GateFactory, RunningGate
from tests.kit.waiting import until
from zenzefi.plugins import (
    Exchange,
    Message,
    OutgoingRequest,
    Plugin,
    Response,
    Socket,
)
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry

OTHER = "b" * 64


@pytest.fixture
def upstream_app() -> web.Application:
    async def socket(request: web.Request) -> web.WebSocketResponse:
        there = web.WebSocketResponse()
        await there.prepare(request)
        async for message in there:
            await there.send_str(json.dumps({"text": message.data}))
        return there

    app = web.Application()
    app.router.add_get("/socket", socket)
    return app


class Guard(Plugin):
    """Refuses, greets, counts, replies by itself, closes."""

    name = "guard"
    ends: list[tuple[str, int | None, int]]

    def request(self, exchange: Exchange, request: OutgoingRequest) -> Response | None:
        if exchange.is_websocket and "refuse" in exchange.query:
            return Response.text("no sockets here", 403)
        exchange.state["count"] = 0
        return None

    def websocket_open(self, socket: Socket) -> None:
        socket.send(f"welcome {socket.client.user_id}")

    def websocket_message(self, context: Socket, message: Message) -> str | bytes | None:
        if message.direction == "to_browser":
            return message.data
        context.state["count"] += 1
        if message.data == "ask":
            assert context.send("asked by the plugin", "to_upstream")
            return None
        if message.data == "bye":
            context.close(4000, "enough")
        return f"{context.state['count']}: {message.data!r}"

    def websocket_close(self, socket: Socket, code: int | None) -> None:
        assert not socket.is_open
        assert not socket.send("too late")
        type(self).ends.append((socket.client.user_id, code, socket.state["count"]))


async def start(start_gate: GateFactory, upstream: str) -> RunningGate:
    Guard.ends = []
    gate = await start_gate(upstream, engine=Engine(Registry(entry_points=False, classes=[Guard])))
    gate.tokens.add(OTHER, activated=True)
    return gate


def asking(token: str) -> dict[str, Any]:
    return {"headers": {"X-Access-Token": token}}


async def test_each_socket_has_its_own_state_and_may_be_written_to(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    gate = await start(start_gate, upstream)
    for token in (TOKEN, OTHER):
        user = str(gate.tokens.known[token].user_id)
        async with client.ws_connect(gate.proxy_url + "/socket", **asking(token)) as ws:
            assert await ws.receive_str(timeout=20) == f"welcome {user}"
            for number, text in enumerate(("a", "ask", "b"), 1):
                await ws.send_str(text)
                said = json.loads(await ws.receive_str(timeout=20))
                expected = "asked by the plugin" if text == "ask" else f"{number}: {text!r}"
                assert said["text"] == expected
    users = {str(gate.tokens.known[token].user_id) for token in (TOKEN, OTHER)}
    await until(lambda: set(Guard.ends) == {(user, 1000, 3) for user in users})
    assert len(Guard.ends) == 2


async def test_a_plugin_closes_a_socket_with_its_code(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    gate = await start(start_gate, upstream)
    async with client.ws_connect(gate.proxy_url + "/socket", **asking(TOKEN)) as ws:
        await ws.receive_str(timeout=20)
        await ws.send_str("bye")
        while (message := await ws.receive(timeout=20)).type is aiohttp.WSMsgType.TEXT:
            pass
        assert (message.type, message.data, message.extra) == (
            aiohttp.WSMsgType.CLOSE,
            4000,
            "enough",
        )
    await until(lambda: [end[1:] for end in Guard.ends] == [(4000, 1)])


async def test_a_plugin_refuses_a_socket_before_it_is_opened(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    gate = await start(start_gate, upstream)
    with pytest.raises(WSServerHandshakeError) as refused:
        await client.ws_connect(gate.proxy_url + "/socket?refuse", **asking(TOKEN))
    assert refused.value.status == 403
    assert Guard.ends == []


@pytest.mark.parametrize("code", [999, 1001, 1005, 2999, 5000])
def test_a_close_code_that_programs_may_not_send_is_refused(code: int) -> None:
    from zenzefi.plugins_testing import TestedSocket

    class Closes(Plugin):
        name = "closes"

        def websocket_open(self, socket: Socket) -> None:
            with pytest.raises(ValueError, match="not a close code"):
                socket.close(code)
            with pytest.raises(TypeError):
                socket.send(5)  # type: ignore[arg-type] # the mistake

    assert TestedSocket(Closes).sent == []

"""Responses that wait for something, or last: none of them changes the program that sends it."""

from __future__ import annotations

import asyncio

import pytest

from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate
from tests.kit.raw_connections import Connect, forwarding_of
from tests.kit.waiting import until
from zenzefi.proxy.browser.requesting import RequestingConnection
from zenzefi.proxy.upstream.connection import UpstreamConnection
from zenzefi.proxy.upstream.sinks import ResponseStart
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.errors import TokenRevoked

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: 300000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n"


class ForgettingGate:
    """A gate whose token is not cached any more when the response begins."""

    def __init__(self, gate: RunningGate, faulty: FaultyUpstream) -> None:
        self.gate = gate
        self.received = asyncio.Event()
        self.go_on = asyncio.Event()
        self.is_revoked = False
        known: TokenAccess = gate.tokens.known[TOKEN]

        async def validate(token: str, address: str | None = None) -> TokenAccess:
            await self.go_on.wait()
            if self.is_revoked:
                raise TokenRevoked
            gate.tokens.known[token] = known
            return known

        gate.tokens.validate = validate  # type: ignore[method-assign]

        async def script(wire: Wire) -> None:
            await wire.send(b"")
            self.received.set()
            await wire.stall()

        faulty.script = script


@pytest.mark.parametrize("content_type", [b"image/png", b"text/html", b"text/event-stream"])
@pytest.mark.parametrize("ending", ["whole", "cut", "revoked", "left"])
async def test_a_response_waits_for_the_validation_of_its_token(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    connect: Connect,
    content_type: bytes,
    ending: str,
) -> None:
    gate = await start_gate(faulty.url)
    forgetting = ForgettingGate(gate, faulty)
    pieces = [b"<p>" * 10_000, b"<b>" * 90_000]
    sent = asyncio.Event()

    async def script(wire: Wire) -> None:
        forgetting.received.set()
        gate.tokens.known.pop(TOKEN)
        await wire.send(HEAD % content_type + pieces[0])
        await wire.send(pieces[1] if ending == "whole" else pieces[1][:-1], drain=False)
        if ending == "cut":
            wire.writer.close()
        sent.set()
        await wire.stall()

    faulty.script = script
    browser = await connect(gate)
    browser.send(PREFIX + "/x")
    await sent.wait()
    await asyncio.sleep(0.05)
    if ending == "left":
        browser.close()
        await until(lambda: not forwarding_of(gate).connections)
        return
    forgetting.is_revoked = ending == "revoked"
    forgetting.go_on.set()
    response = await browser.read()
    assert forwarding_of(gate).handed_over == (ending == "revoked")
    if ending == "revoked":
        assert response.start.startswith(b"HTTP/1.1 401")
        return
    assert response.start == b"HTTP/1.1 200 OK"
    assert response.is_whole == (ending == "whole")
    whole = b"".join(pieces)
    start = response.body.find(pieces[0])  # behind what the engine adds to a page
    assert response.body[start:] == whole[: len(response.body) - start]
    if ending == "whole":
        assert response.body[start:] == whole


async def test_an_event_stream_ends_when_the_process_drains(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.always(CHUNKED % b"text/event-stream" + b"7\r\ndata:1\n\r\n", then="stall")
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    browser.send(PREFIX + "/x")
    await browser.reader.readuntil(b"data:1\n\r\n")
    assert forwarding_of(gate).handed_over == 0
    http = forwarding_of(gate).http
    assert len(http.event_streams) == 1
    http.drain()
    assert await browser.reader.read() == b""
    assert not http.event_streams
    await until(lambda: not forwarding_of(gate).connections)
    assert forwarding_of(gate).served == 1


async def test_a_refused_early_hint_ends_the_exchange(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    gate = await start_gate(faulty.url)
    faulty.always(b"HTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\n", then="stall")
    http = forwarding_of(gate).http

    def refuse(*_: object) -> None:
        from zenzefi.errors import UpstreamProtocolError

        raise UpstreamProtocolError

    http.interim = refuse  # type: ignore[method-assign, assignment]
    browser = await connect(gate)
    response = await browser.request(PREFIX + "/x")
    assert response.start.startswith(b"HTTP/1.1 502")
    await until(lambda: not forwarding_of(gate).connections)


@pytest.mark.every_loop
async def test_a_client_that_leaves_when_its_response_begins_leaves_no_connection(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faulty.always(HEAD % b"image/png" + b"x" * 200_000, then="stall")
    gate = await start_gate(faulty.url, fast_lane=False)
    begin = RequestingConnection.begin
    begun = []

    def leave(
        self: RequestingConnection, connection: UpstreamConnection, response: ResponseStart
    ) -> None:
        assert self.transport is not None
        self.transport.abort()
        # Behind the loss of the client, and before the task has noticed it.
        asyncio.get_running_loop().call_soon(begin, self, connection, response)
        begun.append(connection)

    monkeypatch.setattr(RequestingConnection, "begin", leave)
    browser = await connect(gate)
    browser.send(PREFIX + "/x")
    assert await browser.reader.read() == b""
    await until(lambda: begun)
    await until(lambda: not forwarding_of(gate).connections)

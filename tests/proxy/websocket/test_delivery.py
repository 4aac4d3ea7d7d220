"""Received bytes of a WebSocket reach the other side, however and whenever a side ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.kit.proxy_gates import GateFactory, RunningGate
from tests.kit.raw_websockets import (
    ACCEPTED,
    HANDSHAKE,
    frame,
    receive_all,
    receive_exactly,
    receive_head,
    reset,
)
from zenzefi.plugins import Plugin
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.tokens.access import TokenAccess

pytestmark = [pytest.mark.every_loop, pytest.mark.usefixtures("loop_errors")]

ROUNDS = 3
TO_BROWSER = frame(b"first") + frame(b"z" * 70_000) + frame(b"\x03\xe8", opcode=8)
TO_UPSTREAM = frame(b"up", masked=True) + frame(b"z" * 70_000, masked=True)

StartGate = Callable[[str], Awaitable[RunningGate]]


class Reads(Plugin):
    """Reads each message and changes none."""

    name = "reads"
    messages = True

    def websocket_message(self, context: Any, message: Any) -> Any:
        return message.data


@pytest.fixture
def at_once() -> bool:
    """As by default: a task serves WebSockets in both cases."""
    return True


@pytest.fixture(params=["relayed", "read by a plugin"])
def start_relay(request: pytest.FixtureRequest, start_gate: GateFactory) -> StartGate:
    """Starts a gate that relays bytes, and one where a plugin reads messages."""
    options: dict[str, Any] = {}
    if request.param != "relayed":
        options["engine"] = Engine(Registry(classes=[Reads], entry_points=False))
    return lambda url: start_gate(url, **options)


@pytest.fixture
async def listener() -> AsyncIterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


async def accept(listener: socket.socket) -> socket.socket:
    listener.setblocking(False)
    async with asyncio.timeout(10):
        upstream, _ = await asyncio.get_running_loop().sock_accept(listener)
    assert (await receive_head(upstream)).startswith(b"GET /socket ")
    upstream.setblocking(True)
    return upstream


def end(sock: socket.socket, ending: str) -> None:
    if ending == "reset":
        reset(sock)
    else:
        sock.close()


async def opened(gate: RunningGate, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """An open WebSocket: the browser's socket and the upstream's."""
    browser = socket.create_connection(("127.0.0.1", gate.port))
    browser.send(HANDSHAKE)
    upstream = await accept(listener)
    upstream.sendall(ACCEPTED)
    assert (await receive_head(browser)).startswith(b"HTTP/1.1 101 ")
    browser.setblocking(True)
    return browser, upstream


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("pieces", ["one packet", "several"])
@pytest.mark.parametrize("token", ["cached", "first use", "activated later"])
async def test_what_an_upstream_sends_before_it_ends_reaches_the_browser(
    start_relay: StartGate,
    listener: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
    pieces: str,
    token: str,
) -> None:
    gate = await start_relay(url_of(listener))
    activate = gate.tokens.activate
    has_ended = asyncio.Event()

    async def activate_later(access: TokenAccess) -> TokenAccess:
        await has_ended.wait()
        return await activate(access)

    if token == "activated later":
        monkeypatch.setattr(gate.tokens, "activate", activate_later)
    for _ in range(ROUNDS):
        gate.tokens.known.clear()
        gate.tokens.add(activated=token == "cached")
        has_ended.clear()
        browser = socket.create_connection(("127.0.0.1", gate.port))
        browser.send(HANDSHAKE)
        upstream = await accept(listener)
        if pieces == "one packet":
            upstream.sendall(ACCEPTED + TO_BROWSER)
        else:
            upstream.sendall(ACCEPTED)
            await asyncio.sleep(0)
            upstream.sendall(TO_BROWSER[:9])
            await asyncio.sleep(0)
            upstream.sendall(TO_BROWSER[9:])
        if ending == "reset":  # the system drops what the peer has not received yet
            await asyncio.sleep(0.02)
        end(upstream, ending)
        await asyncio.sleep(0.02)
        has_ended.set()
        received = await receive_all(browser)
        assert received.startswith(b"HTTP/1.1 101 ")
        assert received.partition(b"\r\n\r\n")[2] == TO_BROWSER
        browser.close()


@pytest.mark.parametrize("token", ["cached", "first use"])
@pytest.mark.parametrize("when", ["before the 101", "after it"])
async def test_frames_of_the_browser_reach_the_upstream(
    start_relay: StartGate, listener: socket.socket, token: str, when: str
) -> None:
    gate = await start_relay(url_of(listener))
    for _ in range(ROUNDS):
        gate.tokens.known.clear()
        gate.tokens.add(activated=token == "cached")
        browser = socket.create_connection(("127.0.0.1", gate.port))
        browser.sendall(HANDSHAKE + (TO_UPSTREAM if when == "before the 101" else b""))
        upstream = await accept(listener)
        upstream.sendall(ACCEPTED)
        if when == "after it":
            await receive_head(browser)
            browser.setblocking(True)
            browser.sendall(TO_UPSTREAM)
        assert await receive_frames(upstream) == [b"up", b"z" * 70_000]
        browser.close()
        upstream.close()


async def receive_frames(sock: socket.socket) -> list[bytes]:
    """The payloads of the next two masked frames, a short one and one with an 8 byte length."""
    payloads = []
    for header in (2, 10):
        data = await receive_exactly(sock, header + 4)
        size = int.from_bytes(data[2:10], "big") if header == 10 else data[1] & 0x7F
        mask, payload = data[-4:], await receive_exactly(sock, size)
        payloads.append(bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)))
    return payloads


@pytest.mark.parametrize("ending", ["close", "reset", "half-close"])
async def test_frames_of_a_browser_that_ends_reach_the_upstream(
    start_relay: StartGate, listener: socket.socket, ending: str
) -> None:
    gate = await start_relay(url_of(listener))
    for _ in range(ROUNDS):
        browser, upstream = await opened(gate, listener)
        browser.sendall(TO_UPSTREAM)
        if ending == "half-close":
            browser.shutdown(socket.SHUT_WR)
        else:
            if ending == "reset":
                await asyncio.sleep(0.02)
            end(browser, ending)
        assert await receive_frames(upstream) == [b"up", b"z" * 70_000]
        assert await receive_all(upstream) == b""
        browser.close()
        upstream.close()


async def test_a_browser_that_ends_its_side_still_receives(
    start_relay: StartGate, listener: socket.socket
) -> None:
    """Such as the upstream's close frame (RFC 6455, 5.5.1), also behind many bytes."""
    gate = await start_relay(url_of(listener))
    for size in (10, 3_000_000):
        browser, upstream = await opened(gate, listener)
        browser.sendall(frame(b"\x03\xe8", opcode=8, masked=True))
        browser.shutdown(socket.SHUT_WR)
        await receive_exactly(upstream, 8)
        assert await receive_all(upstream) == b""  # the upstream sees that the browser has ended
        last = frame(b"z" * size) + frame(b"\x03\xe8", opcode=8)
        upstream.setblocking(False)
        loop = asyncio.get_running_loop()
        sending = asyncio.create_task(loop.sock_sendall(upstream, last))
        assert await receive_exactly(browser, len(last)) == last
        await sending
        upstream.close()
        assert await receive_all(browser) == b""
        browser.close()


async def test_a_slow_browser_receives_all_that_came_before_the_upstreams_end(
    start_relay: StartGate, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time for it is counted from its last progress, not from the upstream's end."""
    monkeypatch.setattr("zenzefi.proxy.websocket.side.FLUSH_SECONDS", 0.3)
    gate = await start_relay(url_of(listener))
    whole = frame(b"z" * 4_000_000)
    browser = socket.socket()
    browser.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    browser.connect(("127.0.0.1", gate.port))
    browser.send(HANDSHAKE)
    upstream = await accept(listener)
    upstream.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(upstream, ACCEPTED)
    await receive_head(browser)
    sending = asyncio.create_task(loop.sock_sendall(upstream, whole))
    sending.add_done_callback(lambda _: upstream.close())
    received = 0
    while data := await receive_exactly(browser, 100_000, within=5):
        received += len(data)
        await asyncio.sleep(0.05)
    assert received == len(whole)
    browser.close()


@pytest.mark.parametrize("rest", [b"", frame(b"before")])
async def test_the_upstreams_last_frames_arrive_although_writes_to_it_fail(
    start_relay: StartGate, listener: socket.socket, rest: bytes
) -> None:
    """The browser still sends; the upstream's reset comes with the gate's next write."""
    gate = await start_relay(url_of(listener))
    goodbye = rest + frame(b"\x03\xe8", opcode=8)
    for turns in range(8):
        browser, upstream = await opened(gate, listener)
        browser.sendall(frame(b"z" * 4096, masked=True))
        await receive_exactly(upstream, 10)
        browser.sendall(frame(b"z" * 4096, masked=True))
        for _ in range(turns):
            await asyncio.sleep(0)
        upstream.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(upstream, goodbye)
        upstream.close()  # with unread data: a reset (RFC 2525, 2.17)
        browser.sendall(frame(b"z" * 4096, masked=True))
        assert await receive_exactly(browser, len(goodbye)) == goodbye
        browser.close()


async def test_a_close_of_the_browser_behind_other_frames_is_noticed(
    start_relay: StartGate, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate closes within a message; its end and the browser's close come in one packet."""
    monkeypatch.setattr("zenzefi.proxy.websocket.relay.GOODBYE_SECONDS", 60)
    gate = await start_relay(url_of(listener))
    message = frame(b"z" * 1000, masked=True)
    for cut in (1, 500, len(message)):
        gate.tokens.known.clear()
        gate.tokens.add()
        browser, upstream = await opened(gate, listener)
        browser.sendall(message[:cut])
        await asyncio.sleep(0.02)
        gate.tokens.revoke()
        close = frame(b"\x11\x31", opcode=8, masked=True)
        browser.sendall(message[cut:] + frame(b"more", masked=True) + close)
        received = await receive_all(browser)
        assert received[2:4] == (4401).to_bytes(2, "big")
        browser.close()
        upstream.close()

"""Which browsers count as gone: those with which nothing at all happens for an interval."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import GateFactory, RunningGate
from tests.kit.raw_websockets import ACCEPTED, HANDSHAKE, frame, receive_exactly, receive_head
from tests.kit.waiting import until

pytestmark = [pytest.mark.every_loop, pytest.mark.usefixtures("loop_errors")]

INTERVAL = 0.25  # seconds between pings
PING, PONG = b"\x89\x00", frame(b"", opcode=10, masked=True)


@pytest.fixture
def at_once() -> bool:
    """As by default: a task serves WebSockets in both cases."""
    return True


async def opened(gate: RunningGate) -> socket.socket:
    """A browser whose system takes few bytes ahead."""
    gate.gate.websockets._ping_seconds = INTERVAL
    browser = socket.socket()
    browser.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    browser.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(browser, ("127.0.0.1", gate.port))
    await loop.sock_sendall(browser, HANDSHAKE)
    assert (await receive_head(browser)).startswith(b"HTTP/1.1 101 ")
    return browser


@pytest.mark.parametrize("is_pausing", [False, True], ids=["sends more", "sends once"])
async def test_a_slow_reader_is_alive_although_a_ping_waits_behind_many_bytes(
    start_gate: GateFactory, faulty: FaultyUpstream, is_pausing: bool
) -> None:
    """30 kB per tenth of an interval; the ping is read after dozens of intervals."""
    size = 2_000_000
    may_end = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.send(ACCEPTED)
        if is_pausing:
            await wire.send(frame(b"z" * size))
        else:
            await wire.throttle(frame(b"z" * 1000) * (size // 1000), 100_000, 0.01)
        await may_end.wait()
        await wire.send(frame(b"last"))

    faulty.script = script
    gate = await start_gate(faulty.url)
    browser = await opened(gate)
    loop = asyncio.get_running_loop()
    received, pings = 0, 0
    while received < size:
        data = await receive_exactly(browser, 30_000 if received < size else 1, within=5)
        assert data, f"closed after {received} bytes"
        received += len(data)
        if PING in data:
            pings += 1
            await loop.sock_sendall(browser, PONG)
        await asyncio.sleep(INTERVAL / 10)
        if received > size - 30_000:
            break
    assert gate.gate.websockets.open_count == 1
    may_end.set()
    rest = b""
    while frame(b"last") not in rest:
        data = await loop.sock_recv(browser, 65536)
        assert data
        rest += data
    browser.close()


async def test_a_reader_that_takes_nothing_is_gone(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    """Bytes that wait for it do not count."""

    async def script(wire: Wire) -> None:
        await wire.send(ACCEPTED + frame(b"z" * 1_000_000))
        await wire.stall()

    faulty.script = script
    gate = await start_gate(faulty.url)
    browser = await opened(gate)
    await until(lambda: not gate.gate.websockets.open_count)
    browser.close()


async def test_a_reader_that_ends_pings_with_pongs_stays_and_a_silent_one_goes(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(ACCEPTED)
        await wire.stall()

    faulty.script = script
    gate = await start_gate(faulty.url)
    browser = await opened(gate)
    loop = asyncio.get_running_loop()
    for _ in range(4):
        assert await receive_exactly(browser, 2) == PING
        await loop.sock_sendall(browser, PONG)
    assert await receive_exactly(browser, 2) == PING
    assert await receive_exactly(browser, 1) == b""
    await until(lambda: not gate.gate.websockets.open_count)
    browser.close()

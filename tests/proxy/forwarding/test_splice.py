"""Large bodies past the program: every byte, in order, and every way in which it can end."""

import asyncio
import hashlib
import os
import random
from typing import Any

import pytest

from tests.kit.faulty_upstream import IMAGE_RESPONSE, FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate
from tests.kit.raw_connections import Connect, forwarding_of
from tests.kit.waiting import until

pytestmark = pytest.mark.skipif(not hasattr(os, "splice"), reason="this system can't splice")

SIZE = 20_000_000
BODY = random.Random(5).randbytes(1_000_003) * 20
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"


def splices_of(gate: RunningGate) -> Any:
    return [c for c in forwarding_of(gate).connections if c._splice is not None]


async def test_a_large_body_arrives_whole_and_the_browsers_connection_stays_open(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    async def script(wire: Wire) -> None:
        while True:
            large = b"large" in wire.head
            await wire.send(HEAD % len(BODY) + BODY if large else IMAGE_RESPONSE)
            await wire.read_head()

    faulty.script = script
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    for _ in range(3):
        response = await browser.request(PREFIX + "/large")
        assert response.is_whole
        assert hashlib.sha256(response.body).digest() == hashlib.sha256(BODY).digest()
        assert (await browser.request(PREFIX + "/small")).body == b"image"
    assert faulty.connections == 4  # one for each large body, which nothing may follow
    assert forwarding_of(gate).served == 6
    assert not splices_of(gate)
    assert len(os.listdir("/proc/self/fd")) < 60


async def test_a_slow_browser_and_a_slow_upstream_lose_nothing(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(HEAD % len(BODY))
        for start in range(0, len(BODY), 2_000_000):
            await wire.send(BODY[start : start + 2_000_000])
            await asyncio.sleep(0.02)

    faulty.script = script
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    browser.send(PREFIX + "/x")
    await asyncio.sleep(0.5)
    got = b""
    await browser.reader.readuntil(b"\r\n\r\n")
    while len(got) < len(BODY):
        piece = await browser.reader.read(3_000_000)
        assert piece
        got += piece
        await asyncio.sleep(0.005)
    assert got == BODY


async def test_more_than_the_length_is_not_passed_on(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.always(HEAD % len(BODY) + BODY + b"HTTP/1.1 200 OK\r\n\r\nEVIL", then="stall")
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    for _ in range(2):
        response = await browser.request(PREFIX + "/x")
        assert response.body == BODY
    assert faulty.connections == 2


async def test_a_large_body_that_is_cut_is_seen_as_a_break(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.always(HEAD % SIZE + bytes(SIZE // 2))
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    response = await browser.request(PREFIX + "/x")
    assert not response.is_whole
    assert len(response.body) <= SIZE // 2
    await until(lambda: not forwarding_of(gate).connections)


async def spliced(
    gate: RunningGate, faulty: FaultyUpstream, connect: Connect, then: str = "stall"
) -> Any:
    """A browser in the middle of a spliced body."""
    faulty.always(HEAD % SIZE + bytes(SIZE // 2), then=then)
    browser = await connect(gate)
    browser.send(PREFIX + "/x")
    await browser.reader.readuntil(b"\r\n\r\n")
    await until(lambda: splices_of(gate))
    return browser


async def test_a_token_that_ends_ends_the_splice(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    gate = await start_gate(faulty.url)
    browser = await spliced(gate, faulty, connect)
    gate.tokens.revoke()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await browser.reader.readexactly(SIZE)
    await until(lambda: not forwarding_of(gate).connections)


async def test_a_browser_that_leaves_ends_the_splice(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    gate = await start_gate(faulty.url)
    browser = await spliced(gate, faulty, connect)
    browser.close()
    await until(lambda: not forwarding_of(gate).connections)
    assert not gate.tokens.open_connections.get(gate.tokens.known[TOKEN].token_id)


async def test_an_upstream_that_falls_silent_ends_the_splice(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    gate = await start_gate(faulty.url, upstream_read_timeout=0.4)
    browser = await spliced(gate, faulty, connect)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await browser.reader.readexactly(SIZE)
    await until(lambda: not forwarding_of(gate).connections)

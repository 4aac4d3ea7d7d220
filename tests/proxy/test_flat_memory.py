"""Bodies of any size pass with the same memory; measured on a gate in a separate process."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

import pytest

from tests.kit.event_loops import LOOPS
from tests.kit.measured_gate import MeasuredGate
from tests.kit.proxy_gates import PREFIX, TOKEN

HUGE = 1_000_000_000

Transfer = Callable[[int, int], Coroutine[None, None, None]]
"""Transfers a number of bytes through the gate on a port."""


@pytest.fixture(params=LOOPS)
def measured_gate(
    request: pytest.FixtureRequest, upstream: str, free_port: int, tmp_path: Path
) -> Iterator[MeasuredGate]:
    gate = MeasuredGate(upstream, free_port, tmp_path / "gate.log", loop=request.param)
    yield gate
    gate.stop()


async def peak_growth(gate: MeasuredGate, work: asyncio.Task[None]) -> int:
    """Bytes by which the resident set grew at most while ``work`` ran."""
    before = gate.resident_bytes()
    peak = before
    while not work.done():
        peak = max(peak, gate.resident_bytes())
        await asyncio.sleep(0.02)
    await work
    return peak - before


async def download(port: int, size: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET {PREFIX}/large?size={size} HTTP/1.1\r\nHost: h\r\nX-Access-Token: {TOKEN}\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert f"Content-Length: {size}".encode() in head
    received = 0
    while piece := await reader.read(1 << 20):
        received += len(piece)
    assert received == size
    writer.close()
    await writer.wait_closed()


async def upload(port: int, size: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST {PREFIX}/count HTTP/1.1\r\nHost: h\r\nX-Access-Token: {TOKEN}\r\n"
        f"Content-Length: {size}\r\nConnection: close\r\n\r\n".encode()
    )
    piece = b"z" * 100_000
    for _ in range(size // len(piece)):
        writer.write(piece)
        await writer.drain()
    assert f'{{"received": {size}}}'.encode() in await reader.read()
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("transfer", [download, upload])
async def test_a_gigabyte_leaves_memory_flat(
    measured_gate: MeasuredGate, transfer: Transfer
) -> None:
    await transfer(measured_gate.port, 10_000_000)
    work = asyncio.create_task(transfer(measured_gate.port, HUGE))
    assert await peak_growth(measured_gate, work) < 15_000_000

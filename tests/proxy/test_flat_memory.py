"""Bodies of any size pass with the same memory; measured on a gate in a separate process."""

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Coroutine, Iterator

import psutil
import pytest

from tests.kit.event_loops import LOOPS
from tests.kit.proxy_gates import PREFIX, TOKEN

HUGE = 1_000_000_000

MeasuredGate = tuple[psutil.Process, int]
"""The process of a gate and its port."""
Transfer = Callable[[int, int], Coroutine[None, None, None]]
"""Transfers a number of bytes through the gate on a port."""

GATE = textwrap.dedent(
    """
    import asyncio, pathlib, sys, tempfile
    from aiohttp import web
    from tests.kit.event_loops import LOOPS
    from tests.kit.proxy_gates import MemoryTokenValidator, proxy_app
    from zenzefi.runtime.drain import GateRunner

    async def main(upstream, port):
        tokens = MemoryTokenValidator()
        tokens.add()
        app = proxy_app(tokens, pathlib.Path(tempfile.mkdtemp()), upstream, port)
        runner = GateRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        print("ready", flush=True)
        await asyncio.sleep(3600)

    with asyncio.Runner(loop_factory=LOOPS[sys.argv[3]]) as runner:
        runner.run(main(sys.argv[1], int(sys.argv[2])))
    """
)


@pytest.fixture(params=LOOPS)
def gate_process(
    request: pytest.FixtureRequest, upstream: str, free_port: int
) -> Iterator[MeasuredGate]:
    process = subprocess.Popen(
        [sys.executable, "-c", GATE, upstream, str(free_port), request.param],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    yield psutil.Process(process.pid), free_port
    process.kill()
    process.wait()
    process.stdout.close()


async def peak_growth(process: psutil.Process, work: asyncio.Task[None]) -> int:
    """Bytes by which the resident set grew at most while ``work`` ran."""
    before: int = process.memory_info().rss
    peak = before
    while not work.done():
        peak = max(peak, process.memory_info().rss)
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
    gate_process: MeasuredGate, transfer: Transfer
) -> None:
    process, port = gate_process
    await transfer(port, 10_000_000)
    growth = await peak_growth(process, asyncio.create_task(transfer(port, HUGE)))
    assert growth < 15_000_000

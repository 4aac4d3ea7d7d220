"""A short soak: after hundreds of exchanges of every kind everything is as it was."""

import asyncio
import contextlib
import gc

import psutil
from aiohttp import ClientError, ClientSession, ClientTimeout

from tests.proxy.conftest import PREFIX, TOKEN


async def settled(process: psutil.Process) -> tuple[int, int]:
    await asyncio.sleep(0.3)
    gc.collect()
    return process.num_fds(), len(asyncio.all_tasks())


async def mixed(client, gate, i):
    kind = i % 6
    with contextlib.suppress(ClientError, TimeoutError, ConnectionError):
        if kind == 0:
            async with client.get(f"{gate.proxy_url}/n{i}") as response:
                await response.read()
        elif kind == 1:
            async with client.post(gate.proxy_url + "/count", data=b"z" * 50_000) as response:
                await response.read()
        elif kind == 2:  # leaves in the middle of a stream
            async with client.get(gate.proxy_url + "/stream?n=1000") as response:
                await response.content.readany()
                response.close()
        elif kind == 3:
            async with client.ws_connect(gate.proxy_url + "/socket") as ws:
                await ws.receive()
                await ws.send_str("x")
                await ws.receive()
        elif kind == 4:  # leaves without a close frame
            ws = await client.ws_connect(gate.proxy_url + "/socket")
            await ws.receive()
            ws._response.close()
        else:  # leaves before the answer
            _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
            writer.write(
                f"GET {PREFIX}/stream?n=500 HTTP/1.1\r\nHost: h\r\n"
                f"X-Access-Token: {TOKEN}\r\n\r\n".encode()
            )
            await asyncio.sleep(0.01)
            writer.transport.abort()


async def test_nothing_is_left_behind(gate):
    process = psutil.Process()

    async def round_of(count):
        headers = {"X-Access-Token": TOKEN}
        async with ClientSession(headers=headers, timeout=ClientTimeout(total=10)) as client:
            for start in range(0, count, 30):
                await asyncio.gather(*(mixed(client, gate, start + i) for i in range(30)))

    await round_of(60)
    fds, tasks = await settled(process)
    await round_of(300)
    after_fds, after_tasks = await settled(process)
    assert gate.gate.websockets.open_count == 0
    assert not any(gate.gatekeeper.holds.values())
    # Pooled connections to the upstream may differ by the number that ran at once.
    assert after_fds <= fds + 31
    assert after_tasks <= tasks + 31
    assert len(gate.gate.upstream._open) == len(gate.gate.upstream._idle)

"""Two nodes behind nginx, restarted one after the other under load: no request fails."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.kit import api
from tests.kit.gate_process import GateProcess
from tests.kit.gates import SECRET_KEY, Stores, running_gate
from tests.kit.nginx import NGINX, plain, running
from tests.kit.ports import free_ports
from tests.kit.recording_upstream import RecordingUpstream

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),  # four processes start, one after the other, on a busy machine
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed: no rolling restart"),
]


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[tuple[int, list[int]]]:
    """Its port, and the ports of the two nodes it expects."""
    port, *nodes = free_ports(3)
    addresses = {f"gate-{x}:8000": f"127.0.0.1:{at}" for x, at in zip("ab", nodes, strict=True)}
    with running(tmp_path, port, plain("gate.conf", port, addresses)):
        yield port, nodes


async def test_a_rolling_restart_loses_no_request(
    nginx: tuple[int, list[int]], cluster: Stores, upstream: RecordingUpstream, tmp_path: Path
) -> None:
    port, ports = nginx
    async with running_gate(**cluster.settings) as shop:
        token = await api.buy(shop, await api.sign_up(shop))

    def node(index: int) -> GateProcess:
        folder = tmp_path / f"node{index}"
        folder.mkdir(exist_ok=True)
        return GateProcess(
            str(folder),
            *("--port", str(ports[index])),
            DATABASE_URL=cluster.settings["database_url"],
            REDIS_URL=cluster.settings["redis_url"],
            SECRET_KEY=SECRET_KEY,
            ZENZEFI_TARGET_URL=upstream.origin,
            DRAIN_DELAY="0",
        )

    nodes = list(await asyncio.gather(*(asyncio.to_thread(node, index) for index in (0, 1))))
    headers = {"X-Access-Token": str(token["token"])}
    responses: list[int] = []
    failures: list[str] = []
    ending = asyncio.Event()

    async def ask(number: int) -> None:
        method, path, body = (
            ("GET", "/proxy/page", None),  # without a task
            ("POST", "/proxy/form", b"x" * 20_000),  # which nothing may send twice
            ("GET", "/proxy/status", None),  # the gate's own
        )[number % 3]
        url = f"http://127.0.0.1:{port}/api/v1{path}"
        async with aiohttp.ClientSession(headers=headers) as client:
            while not ending.is_set():
                try:
                    async with client.request(method, url, data=body) as response:
                        await response.read()
                        responses.append(response.status)
                except aiohttp.ClientError as error:
                    failures.append(repr(error))
                await asyncio.sleep(0.03)

    try:
        async with asyncio.timeout(280), asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(ask(number), name=f"client {number}")
            for index in (0, 1):
                reached = len(responses) + 50
                while len(responses) < reached:  # noqa: ASYNC110 - a plain counter
                    await asyncio.sleep(0.05)
                assert await asyncio.to_thread(nodes[index].stop) == 0
                nodes[index] = await asyncio.to_thread(node, index)
            reached = len(responses) + 50
            while len(responses) < reached:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.05)
            ending.set()
    finally:
        for one in nodes:
            await asyncio.to_thread(one.stop)
    assert failures == []
    assert set(responses) == {200}

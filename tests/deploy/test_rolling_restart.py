"""Two nodes behind nginx, restarted one after the other under load: nobody notices."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.commands.gate import Gate
from tests.conftest import SECRET_KEY
from tests.deploy.nginx import NGINX, plain, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason="LOUD: no nginx here, the rolling restart is not run"),
]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [sock.getsockname()[1] for sock in sockets]


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[tuple[int, list[int]]]:
    """Its port, and the ports of the two nodes it expects."""
    port, *nodes = _free_ports(3)
    addresses = {f"gate-{x}:8000": f"127.0.0.1:{at}" for x, at in zip("ab", nodes, strict=True)}
    with running(tmp_path, port, plain("gate.conf", port, addresses)):
        yield port, nodes


async def test_a_rolling_restart_loses_no_request(
    nginx: tuple[int, list[int]], postgres_database: str, redis_url: str, tmp_path: Path
) -> None:
    port, ports = nginx

    def node(index: int) -> Gate:
        folder = tmp_path / f"node{index}"
        folder.mkdir(exist_ok=True)
        return Gate(
            str(folder),
            *("--port", str(ports[index])),
            DATABASE_URL=postgres_database,
            REDIS_URL=redis_url,
            SECRET_KEY=SECRET_KEY,
            ZENZEFI_TARGET_URL="http://127.0.0.1:9",
            DRAIN_DELAY="0",
        )

    nodes = [await asyncio.to_thread(node, index) for index in (0, 1)]
    answers: list[int] = []
    failures: list[str] = []
    ending = asyncio.Event()

    async def ask(number: int) -> None:
        calls = f"http://127.0.0.1:{port}/api/v1/tokens"
        method, url = ("GET", f"{calls}/my-tokens") if number % 2 else ("POST", f"{calls}/purchase")
        async with aiohttp.ClientSession() as client:
            while not ending.is_set():
                try:
                    body = None if method == "GET" else b'{"duration_hours": 24}'
                    async with client.request(method, url, data=body) as response:
                        await response.read()
                        answers.append(response.status)
                except aiohttp.ClientError as error:
                    failures.append(repr(error))
                await asyncio.sleep(0.01)

    try:
        async with asyncio.timeout(110), asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(ask(number), name=f"client {number}")
            for index in (0, 1):
                reached = len(answers) + 50
                while len(answers) < reached:  # noqa: ASYNC110 - a plain counter
                    await asyncio.sleep(0.05)
                assert await asyncio.to_thread(nodes[index].stop) == 0
                nodes[index] = await asyncio.to_thread(node, index)
            reached = len(answers) + 50
            while len(answers) < reached:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.05)
            ending.set()
    finally:
        for one in nodes:
            await asyncio.to_thread(one.stop)
    assert failures == []
    assert set(answers) == {403}  # "Not authenticated": the gate's own answer, every time

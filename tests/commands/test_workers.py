"""Several workers are one node: one set of metrics, from each of them and after a crash."""

import asyncio
import os
import re
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.kit.gate_process import GateProcess
from tests.kit.ports import free_port


@pytest.fixture
def node(tmp_path: Path, redis_url: str) -> Iterator[tuple[GateProcess, str]]:
    """A gate of two workers, and the address of its metrics."""
    listen = f"127.0.0.1:{free_port()}"
    gate = GateProcess(
        str(tmp_path),
        "--workers",
        "2",
        REDIS_URL=redis_url,
        METRICS_LISTEN=listen,
        DRAIN_TIMEOUT="3",
    )
    yield gate, f"http://{listen}/metrics"
    gate.stop()


def metric(url: str, series: str) -> float:
    with urllib.request.urlopen(url, timeout=10) as response:
        text = response.read().decode()
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.M)
    return float(found[1]) if found else 0.0


NOWHERE = "http://127.0.0.1:9"
LIVEZ_REQUESTS = 'gate_requests_total{method="GET",route="/livez",status_code="200"}'


async def test_the_metrics_are_those_of_all_workers(
    node: tuple[GateProcess, str], tmp_path: Path
) -> None:
    gate, metrics = node
    # A reload reaches every one of them.
    await asyncio.to_thread(
        (tmp_path / ".env").write_text, "TOKEN_PRICE_1H=7.00\nAPPLICATION_NAME=Renamed\n"
    )
    gate.process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(120):
        while gate.output.count("token_price_1h") < 2:  # noqa: ASYNC110 - others' state
            await asyncio.sleep(0.05)
    assert gate.get("/metrics").status == 404  # it left the main port
    for _ in range(20):  # a connection each, so that both workers get some
        assert gate.get("/livez").status == 200
    assert metric(metrics, LIVEZ_REQUESTS) == 20
    before = psutil.Process(gate.process.pid).children()
    for worker in before:
        os.kill(worker.pid, signal.SIGKILL)
    async with asyncio.timeout(120):
        while True:  # one of the new ones serves the metrics again
            try:
                counted = await asyncio.to_thread(metric, metrics, LIVEZ_REQUESTS)
                break
            except OSError:
                await asyncio.sleep(0.1)
    assert counted == 20
    # The new ones have the settings of the others: those of the start, and what was reloaded since.
    reloaded = '"changed": ["token_price_1h"], "needs_restart": ["application_name"]'
    async with asyncio.timeout(120):
        while gate.output.count(reloaded) < 4:  # noqa: ASYNC110 - others' state
            await asyncio.sleep(0.05)


async def test_what_a_dead_worker_had_open_is_open_no_more(node: tuple[GateProcess, str]) -> None:
    gate, metrics = node
    api = f"http://127.0.0.1:{gate.port}/api/v1"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
        who = {"email": "ann@example.com", "password": "correct horse"}
        await client.post(f"{api}/auth/register", json={**who, "username": "ann"})
        async with client.post(f"{api}/auth/login", json=who) as response:
            bearer = {"Authorization": f"Bearer {(await response.json())['access_token']}"}
        purchase = {"duration_hours": 1}
        async with client.post(f"{api}/tokens/purchase", json=purchase, headers=bearer) as response:
            token = {"X-Access-Token": (await response.json())["token"]}
        async with client.ws_connect(f"{api}/proxy/live/echo", headers=token) as socket:
            await socket.send_str("hallo")
            assert await socket.receive_str()
            assert await asyncio.to_thread(metric, metrics, "websockets_open") == 1
            for worker in psutil.Process(gate.process.pid).children():
                os.kill(worker.pid, signal.SIGKILL)
            assert (await socket.receive(timeout=10)).type is not aiohttp.WSMsgType.TEXT
    async with asyncio.timeout(120):
        while True:
            try:
                if await asyncio.to_thread(metric, metrics, "websockets_open") == 0:
                    return
            except OSError:
                pass
            await asyncio.sleep(0.1)


def test_the_workers_share_the_memory_of_the_application(tmp_path: Path, redis_url: str) -> None:
    gate = GateProcess(
        str(tmp_path), "--workers", "2", REDIS_URL=redis_url, ZENZEFI_TARGET_URL=NOWHERE
    )
    try:
        gate.get("/livez")
        for worker in psutil.Process(gate.process.pid).children():
            rollup = Path(f"/proc/{worker.pid}/smaps_rollup").read_text()
            sizes = dict(re.findall(r"^(\w+): +(\d+) kB", rollup, re.M))
            assert int(sizes["Shared_Dirty"]) > 2 * int(sizes["Private_Dirty"])
    finally:
        gate.stop()


async def test_every_gauge_that_takes_the_least_worker_leaves_the_supervisor_out(
    node: tuple[GateProcess, str],
) -> None:
    _, metrics = node
    async with asyncio.timeout(120):
        while await asyncio.to_thread(metric, metrics, "ends_subscription") != 1:  # noqa: ASYNC110 - others' state
            await asyncio.sleep(0.1)


def test_the_workers_share_one_listener_of_metrics_without_a_warning(
    node: tuple[GateProcess, str],
) -> None:
    gate, metrics = node
    for worker in psutil.Process(gate.process.pid).children()[:1]:
        os.kill(worker.pid, signal.SIGKILL)
    assert metric(metrics, "ends_subscription") in (0, 1)  # the other worker responds at once
    gate.stop()
    assert "metrics listener" not in gate.output + gate.announcement


def test_a_metrics_address_in_use_is_one_warning(tmp_path: Path, redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        gate = GateProcess(
            str(tmp_path), "--workers", "2", REDIS_URL=redis_url, METRICS_LISTEN=listen
        )
        gate.stop()
    assert gate.announcement.count(f"METRICS_LISTEN: {listen} can't be listened on") == 1

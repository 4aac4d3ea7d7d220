"""SIGTERM under load, on the real program: every accepted request gets a response."""

import asyncio
import json
import os
import signal
import sqlite3
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.kit.gate_process import GateProcess


async def _hammer(origin: str, until: asyncio.Event, statuses: list[int]) -> None:
    """Ask over and over; stops when the listener is gone, fails on anything else."""
    async with aiohttp.ClientSession() as client:
        while True:
            try:
                async with client.post(f"{origin}/nowhere", data=b"x" * 2000) as response:
                    await response.read()
                    statuses.append(response.status)
            except aiohttp.ClientConnectorError:
                return
            if len(statuses) > 300:
                until.set()


async def _load_and_stop(gate: GateProcess, clients: int = 8) -> list[int]:
    statuses: list[int] = []
    enough = asyncio.Event()
    origin = f"http://127.0.0.1:{gate.port}"
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(_hammer(origin, enough, statuses), name=f"client {number}")
        await enough.wait()
        gate.process.send_signal(signal.SIGTERM)
    return statuses


async def test_sigterm_under_load_loses_no_request(gate: GateProcess) -> None:
    statuses = await _load_and_stop(gate)
    assert set(statuses) == {404}
    assert await asyncio.to_thread(gate.wait) == 0


async def test_every_completed_request_is_in_the_access_log(gate: GateProcess) -> None:
    statuses = await _load_and_stop(gate, clients=2)
    await asyncio.to_thread(gate.wait)
    assert gate.output.count('"path": "/nowhere"') == len(statuses)


async def _token(client: aiohttp.ClientSession, api: str) -> dict[str, str]:
    who = {"email": "ann@example.com", "password": "correct horse"}
    await client.post(f"{api}/auth/register", json={**who, "username": "ann"})
    async with client.post(f"{api}/auth/login", json=who) as response:
        bearer = {"Authorization": f"Bearer {(await response.json())['access_token']}"}
    purchase = {"duration_hours": 1}
    async with client.post(f"{api}/tokens/purchase", json=purchase, headers=bearer) as response:
        return {"X-Access-Token": (await response.json())["token"]}


@pytest.mark.parametrize("gate", [{"DRAIN_TIMEOUT": "300"}], indirect=True)
async def test_what_goes_through_ends_well_and_is_counted(
    gate: GateProcess, tmp_path: Path
) -> None:
    api = f"http://127.0.0.1:{gate.port}/api/v1"
    statuses: list[int] = []
    async with (
        asyncio.timeout(60),
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client,
    ):
        token = await _token(client, api)

        async def ask() -> None:
            while True:
                try:
                    async with client.get(f"{api}/proxy/lights/", headers=token) as response:
                        assert b"</html>" in await response.read()
                        statuses.append(response.status)
                except aiohttp.ClientConnectorError:
                    return

        async with (
            client.ws_connect(f"{api}/proxy/live/echo", headers=token) as socket,
            client.get(f"{api}/proxy/live/events", headers=token) as stream,
        ):
            await stream.content.readuntil(b"\n\n")
            async with asyncio.TaskGroup() as group:
                for number in range(4):
                    group.create_task(ask(), name=f"client {number}")
                while len(statuses) < 100:  # noqa: ASYNC110 - a plain counter
                    await asyncio.sleep(0.01)
                gate.process.send_signal(signal.SIGTERM)
            ended = await socket.receive()
            assert (ended.type, ended.data) == (aiohttp.WSMsgType.CLOSE, 1001)
            # Broken off at once, so that an EventSource connects again: no deadline is waited for.
            with pytest.raises(aiohttp.ClientPayloadError):
                await stream.read()
    assert await asyncio.to_thread(gate.wait) == 0
    assert set(statuses) == {200}
    assert _used(tmp_path)[0] == len(statuses) + 2  # the socket and the stream too


def _used(folder: Path) -> tuple[int, int]:
    """Requests and bytes to browsers, as the database has them."""
    database = sqlite3.connect(folder / "zenzefi.sqlite3")
    query = "SELECT sum(requests), sum(bytes_out) FROM usage_sessions"
    requests, sent = database.execute(query).fetchone()
    database.close()
    return int(requests), int(sent)


async def test_what_a_browser_leaves_half_read_is_counted_too(
    gate: GateProcess, tmp_path: Path
) -> None:
    api = f"http://127.0.0.1:{gate.port}/api/v1"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
        token = await _token(client, api)
        async with client.get(f"{api}/proxy/live/events", headers=token) as stream:
            read = await stream.content.readuntil(b"\n\n")
            read += await stream.content.readuntil(b"\n\n")
    async with asyncio.timeout(20):
        while '"status": 499' not in gate.output:  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.05)
    assert await asyncio.to_thread(gate.stop) == 0
    (line,) = [json.loads(one) for one in gate.output.splitlines() if '"status": 499' in one]
    assert line["sent"] >= len(read)
    assert _used(tmp_path) == (1, line["sent"])


async def test_workers_share_the_port_are_replaced_and_drain(
    tmp_path: Path, redis_url: str
) -> None:
    gate = await asyncio.to_thread(
        GateProcess, str(tmp_path), "--workers", "2", REDIS_URL=redis_url, DRAIN_TIMEOUT="30"
    )
    try:
        children = psutil.Process(gate.process.pid).children()
        assert len(children) == 2
        os.kill(children[0].pid, signal.SIGKILL)
        async with asyncio.timeout(120):
            while children[0].is_running() or len(_workers(gate)) < 2:  # noqa: ASYNC110 - others' state
                await asyncio.sleep(0.05)
        await _every_worker_serves(gate)
        statuses = await _load_and_stop(gate)
        assert set(statuses) == {404}
        assert await asyncio.to_thread(gate.wait) == 0
    finally:
        await asyncio.to_thread(gate.stop)
    assert "exit_code=-9" in gate.output


async def _every_worker_serves(gate: GateProcess) -> None:
    """Wait for a new worker: a connection that the kernel gives it waits until it accepts."""
    async with asyncio.timeout(60):
        for _ in range(20):  # by chance to one of two workers each
            await asyncio.to_thread(gate.get, "/nowhere")


def _workers(gate: GateProcess) -> list[psutil.Process]:
    children: list[psutil.Process] = psutil.Process(gate.process.pid).children()
    return children


@pytest.mark.parametrize("gate", [{"DRAIN_DELAY": "60"}], indirect=True)
async def test_a_second_signal_ends_at_once(gate: GateProcess) -> None:
    gate.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        while "draining" not in gate.output:  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.02)
    assert await asyncio.to_thread(gate.stop) == 1

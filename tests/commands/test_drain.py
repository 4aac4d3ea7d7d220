"""SIGTERM under load, on the real program: every request that was taken is answered."""

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.commands.gate import Gate


async def _hammer(origin: str, until: asyncio.Event, answers: list[int]) -> None:
    """Ask over and over; stops when the listener is gone, fails on anything else."""
    async with aiohttp.ClientSession() as client:
        while True:
            try:
                async with client.post(f"{origin}/nowhere", data=b"x" * 2000) as response:
                    await response.read()
                    answers.append(response.status)
            except aiohttp.ClientConnectorError:
                return
            if len(answers) > 300:
                until.set()


async def _load_and_stop(gate: Gate, clients: int = 8) -> list[int]:
    answers: list[int] = []
    enough = asyncio.Event()
    origin = f"http://127.0.0.1:{gate.port}"
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(_hammer(origin, enough, answers), name=f"client {number}")
        await enough.wait()
        gate.process.send_signal(signal.SIGTERM)
    return answers


async def test_sigterm_under_load_loses_no_request(gate: Gate) -> None:
    answers = await _load_and_stop(gate)
    assert set(answers) == {404}
    assert await asyncio.to_thread(gate.wait) == 0


async def test_every_answered_request_is_in_the_access_log(gate: Gate) -> None:
    answers = await _load_and_stop(gate, clients=2)
    await asyncio.to_thread(gate.wait)
    assert gate.output.count('"path": "/nowhere"') == len(answers)


async def test_workers_share_the_port_are_replaced_and_drain(
    tmp_path: Path, redis_url: str
) -> None:
    gate = await asyncio.to_thread(
        Gate, str(tmp_path), "--workers", "2", REDIS_URL=redis_url, DRAIN_TIMEOUT="5"
    )
    try:
        children = psutil.Process(gate.process.pid).children()
        assert len(children) == 2
        os.kill(children[0].pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            while children[0].is_running() or len(_workers(gate)) < 2:  # noqa: ASYNC110 - others' state
                await asyncio.sleep(0.05)
        answers = await _load_and_stop(gate)
        assert set(answers) == {404}
        assert await asyncio.to_thread(gate.wait) == 0
    finally:
        await asyncio.to_thread(gate.stop)
    assert "ended with -9" in gate.output


def _workers(gate: Gate) -> list[psutil.Process]:
    return psutil.Process(gate.process.pid).children()


@pytest.mark.parametrize("gate", [{"DRAIN_DELAY": "60"}], indirect=True)
async def test_a_second_signal_ends_at_once(gate: Gate) -> None:
    gate.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        while "draining" not in gate.output:  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.02)
    assert await asyncio.to_thread(gate.stop) == 1

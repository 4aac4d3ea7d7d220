"""The gate under gunicorn with the settings of deploy/: it drains, and reloads without a gap."""

import asyncio
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import aiohttp
import pytest

from tests.commands.gate import environment
from tests.conftest import SECRET_KEY
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]


def gunicorn(
    folder: Path, port: int, settings: dict[str, str], log: Path, workers: int = 2
) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "-c", ROOT / "deploy" / "gunicorn.conf.py"),
                *("--bind", f"127.0.0.1:{port}", "--workers", str(workers)),
                "zenzefi.gunicorn:gate",
            ],
            env=environment(str(folder), HOME=str(folder), TMPDIR=str(folder), **settings),
            cwd=folder,
            stdout=out,
            stderr=subprocess.STDOUT,
        )


async def until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    async with asyncio.timeout(60), aiohttp.ClientSession() as client:
        while True:
            assert process.poll() is None, await asyncio.to_thread(log.read_text)
            try:
                async with client.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


async def ask(port: int, answers: list[int]) -> None:
    """Over and over until the listener is gone; any other failure is the test's."""
    async with aiohttp.ClientSession() as client:
        while True:
            try:
                async with client.post(f"http://127.0.0.1:{port}/nowhere", data=b"x") as response:
                    await response.read()
                    answers.append(response.status)
            except aiohttp.ClientConnectorError:
                return
            await asyncio.sleep(0.005)


async def more(answers: list[int], count: int) -> None:
    reached = len(answers) + count
    while len(answers) < reached:  # noqa: ASYNC110 - a plain counter
        await asyncio.sleep(0.02)


def pids(log: Path) -> list[str]:
    return re.findall(r"Booting worker with pid: (\d+)", log.read_text())


async def test_it_reloads_and_ends_without_losing_a_request(
    tmp_path: Path, postgres_database: str, redis_url: str
) -> None:
    port, log = free_port(), tmp_path / "log"
    settings = {
        "DATABASE_URL": postgres_database,
        "REDIS_URL": redis_url,
        "SECRET_KEY": SECRET_KEY,
        "ZENZEFI_TARGET_URL": "http://127.0.0.1:9",
    }
    process = gunicorn(tmp_path, port, settings, log)
    answers: list[int] = []
    try:
        await until_ready(process, port, log)
        async with asyncio.timeout(90), asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(ask(port, answers), name=f"client {number}")
            await more(answers, 50)
            process.send_signal(signal.SIGHUP)
            while log.read_text().count("Worker exiting") < 2:  # noqa: ASYNC110 - another's state
                await asyncio.sleep(0.05)
            await more(answers, 50)
            counted = await asyncio.to_thread(_counted, port)
            process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 30) == 0
    finally:
        process.kill()
        process.wait()
    assert len(pids(log)) == 4
    assert set(answers) == {404}
    assert counted > 50  # what the workers counted that are gone is there still
    left = await asyncio.to_thread(lambda: list(tmp_path.glob("zenzefi-metrics-*")))
    assert left == []


def _counted(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    found = re.search(r'gate_requests_total\{.*route="unknown".*\} (\S+)', text)
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"REDIS_PORT": "x"}, "zenzefi: REDIS_PORT: "),
        ({"PLUGIN_DIR": "/nowhere"}, "zenzefi: PLUGIN_DIR: /nowhere is not a folder"),
        (
            {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"},
            "zenzefi: the database can't be reached (Connection refused).",
        ),
    ],
)
def test_it_ends_at_once_when_it_can_not_serve(
    tmp_path: Path, settings: dict[str, str], told: str
) -> None:
    log = tmp_path / "log"
    base = {"SECRET_KEY": SECRET_KEY, "ZENZEFI_TARGET_URL": "http://127.0.0.1:9"}
    # One worker: of two that end together gunicorn makes a traceback of its own.
    process = gunicorn(tmp_path, free_port(), base | settings, log, workers=1)
    try:
        assert process.wait(60) != 0
    finally:
        process.kill()
        process.wait()
    assert told in log.read_text()
    assert "Traceback" not in log.read_text()

"""A real Prometheus loads the alerts, scrapes a gate and evaluates the queries of the dashboard."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from scripts import reference
from tests.kit.gate_process import GateProcess
from tests.kit.ports import free_port

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "zenzefi.rules.yml"
BOARD = DEPLOY / "grafana" / "zenzefi.json"


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: alerts and dashboard are not loaded")
    return found


def queries() -> dict[str, str]:
    """Every query of the dashboard, by panel and letter, as Grafana sends it."""
    board = json.loads(BOARD.read_text())
    return {
        f"{panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "1m")
        for panel in board["panels"]
        for target in panel["targets"]
    }


@pytest.mark.parametrize("file", ["zenzefi.rules.yml", "prometheus.yml"])
def test_promtool_accepts_the_files(file: str) -> None:
    kind = "rules" if file == RULES.name else "config"
    done = subprocess.run(
        [program("promtool"), "check", kind, str(DEPLOY / "prometheus" / file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_shows_every_metric() -> None:
    shown = " ".join(queries().values())
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"[a-z_]+", shown)}
    assert set(reference.exported()) - names == set()


def test_panels_do_not_overlap_and_have_distinct_titles() -> None:
    panels = json.loads(BOARD.read_text())["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len({panel["title"] for panel in panels}) == len(panels)
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.fixture
def metrics(tmp_path: Path) -> Iterator[str]:
    """The address of a gate's metrics."""
    listen = f"127.0.0.1:{free_port()}"
    gate = GateProcess(str(tmp_path), METRICS_LISTEN=listen)
    gate.get("/livez")
    yield listen
    gate.stop()


@pytest.fixture
async def prometheus(tmp_path: Path, metrics: str) -> AsyncIterator[str]:
    """The API of a Prometheus with the shipped files, whose target is the gate."""
    folder = tmp_path / "prometheus"
    config = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    config, count = re.subn(r"targets: \[.*\]", f'targets: ["{metrics}"]', config)
    assert count == 1
    await asyncio.to_thread(folder.mkdir)
    await asyncio.to_thread(shutil.copy, RULES, folder)
    file = folder / "prometheus.yml"
    await asyncio.to_thread(file.write_text, config.replace("15s", "1s"))
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        program("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    )
    yield f"http://127.0.0.1:{port}/api/v1"
    process.kill()
    await process.wait()


async def asked(client: aiohttp.ClientSession, url: str, **query: str) -> Any:
    async with client.get(url, params=query) as response:
        assert response.status == 200, await response.text()
        return (await response.json())["data"]


async def test_prometheus_loads_the_alerts_and_evaluates_every_query(prometheus: str) -> None:
    async with aiohttp.ClientSession() as client, asyncio.timeout(100):
        while True:  # until it has scraped the gate
            try:
                if (await asked(client, f"{prometheus}/query", query="gate_build"))["result"]:
                    break
            except (aiohttp.ClientError, AssertionError):
                pass
            await asyncio.sleep(0.2)
        (group,) = (await asked(client, f"{prometheus}/rules"))["groups"]
        assert len(group["rules"]) == RULES.read_text().count("- alert:")
        shown = queries()
        for name, query in shown.items():
            data = await asked(client, f"{prometheus}/query", query=query)
            assert data["resultType"] == "vector", name
        # Values that exist at once, not only after something has happened.
        for query in ("max(active_tokens)", "min by (instance) (ends_subscription)"):
            assert query in shown.values()
            assert (await asked(client, f"{prometheus}/query", query=query))["result"]
        for rule in group["rules"]:
            await asked(client, f"{prometheus}/query", query=rule["query"])

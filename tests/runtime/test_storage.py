"""A full disk, a read-only primary or a lost database is reported at once, and recovery too."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import os
import resource
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from tests.kit.api import ALICE, call, sign_up
from tests.kit.gate_process import GateProcess
from tests.kit.gates import SECRET_KEY, GateClient, Stores, running_gate
from tests.kit.servers import own_postgres
from zenzefi.db import migrate
from zenzefi.db.engine import DATABASE, Database
from zenzefi.runtime import checks, health
from zenzefi.runtime.health import HEALTH

NEVER = 3600.0  # seconds between background checks: nothing is seen by chance


async def reported(gate: GateClient) -> tuple[int, int, str]:
    """The responses of /readyz and /health. The test uses ``uncached``."""
    async with gate.get("/readyz") as ready, gate.get("/health") as body:
        return ready.status, body.status, str((await body.json())["status"])


async def until_reported(gate: GateClient, wanted: tuple[int, int, str]) -> None:
    async with asyncio.timeout(30):
        while await reported(gate) != wanted:  # noqa: ASYNC110 - a state of the server
            await asyncio.sleep(0.02)


@pytest.fixture
def uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every health request checks the database."""
    monkeypatch.setattr(health, "_FRESH", 0.0)


HEALTHY = (200, 200, "healthy")
LOST = (503, 200, "unhealthy")


async def registered(gate: GateClient) -> tuple[int, Any]:
    who = {
        **ALICE,
        "email": f"{secrets.token_hex(4)}@example.com",
        "username": secrets.token_hex(4),
    }
    return await call(gate, "POST", "/auth/register", json=who)


# --- SQLite


@pytest.fixture
def embedded(sqlite_database: str, tmp_path: Path) -> dict[str, Any]:
    return {
        "secret_key": SECRET_KEY,
        "data_dir": tmp_path / "gate",
        "health_check_interval": NEVER,
        "zenzefi_target_url": None,
        "rate_limit_api": "off",
        "rate_limit_register": "off",
    }


def _rename(path: Path, before: str, after: str) -> None:
    """Move a database and what belongs to it."""
    for name in ("", "-wal", "-shm"):
        if Path(f"{path}{name}{before}").exists():
            Path(f"{path}{name}{before}").rename(f"{path}{name}{after}")


@pytest.mark.usefixtures("uncached")
async def test_a_missing_sqlite_file_is_reported_and_opened_again_when_it_is_back(
    embedded: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "gate" / "zenzefi.sqlite3"
    async with running_gate(**embedded) as gate:
        bearer = await sign_up(gate)
        assert await reported(gate) == HEALTHY
        _rename(path, "", ".away")
        assert await reported(gate) == LOST
        assert (await registered(gate))[0] == 503
        assert not path.exists(), "a new, empty database took its place"
        _rename(path, ".away", "")
        await until_reported(gate, HEALTHY)
        assert (await call(gate, "GET", "/users/me", bearer=bearer))[0] == 200


@pytest.mark.usefixtures("uncached")
async def test_another_file_in_its_place_is_opened(
    embedded: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "gate" / "zenzefi.sqlite3"
    shutil.copyfile(path, tmp_path / "backup.sqlite3")
    async with running_gate(**embedded) as gate:
        await sign_up(gate)
        _rename(path, "", ".old")
        os.replace(tmp_path / "backup.sqlite3", path)
        await until_reported(gate, HEALTHY)
        await sign_up(gate)  # the same account: the restored file has none


@pytest.mark.usefixtures("uncached")
async def test_a_limit_of_pages_is_a_full_database(
    embedded: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import event

    async with running_gate(**embedded) as gate:
        assert await reported(gate) == HEALTHY
        engine = gate.app[DATABASE].engine

        pages = [1]  # at least what there is: no page more

        def limit(connection: Any, *_: object) -> None:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA max_page_count={pages[0]}")
            cursor.close()

        event.listen(engine.sync_engine, "checkout", limit)
        responses = [await registered(gate) for _ in range(120)]  # spare pages run out
        refused = {response["code"] for status, response in responses if status != 201}
        assert refused == {"database_not_writable"}
        monkeypatch.setattr(health, "_WRITE_INTERVAL", 0.0)
        assert await reported(gate) == LOST
        pages[0] = 1_000_000
        await until_reported(gate, HEALTHY)
        assert (await registered(gate))[0] == 201


@pytest.fixture
def process(tmp_path: Path) -> Iterator[GateProcess]:
    gate = GateProcess(str(tmp_path), RATE_LIMIT_REGISTER="off", HEALTH_CHECK_INTERVAL="3600")
    yield gate
    gate.stop()


def test_a_full_disk_under_a_running_gate(process: GateProcess) -> None:
    """A limit on the size of files simulates a full disk: appending fails."""

    def register() -> tuple[int, Any]:
        name = secrets.token_hex(6)
        who = {"email": f"{name}@example.com", "username": name, "password": "correct horse"}
        connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
        try:
            connection.request(
                "POST",
                "/api/v1/auth/register",
                json.dumps(who),
                {"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            return response.status, json.load(response)
        finally:
            connection.close()

    def until(status: int) -> None:
        for _ in range(60):
            if process.get("/readyz").status == status:
                return
            time.sleep(0.5)
        raise AssertionError(process.output)

    assert register()[0] == 201
    before = resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (1024, before[1]))
    until(503)
    status, body = register()
    assert (status, body["code"]) == (503, "database_not_writable")
    well = process.get("/health")
    assert (well.status, json.loads(well.body)["status"]) == (200, "unhealthy")
    resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, before)
    until(200)
    assert register()[0] == 201
    assert json.loads(process.get("/health").body)["status"] == "healthy"


# --- PostgreSQL


async def _switch(url: str, value: str) -> None:
    """Make a database read-only, or take that back, for all of its connections."""
    parsed = make_url(url)
    plain = parsed.set(drivername="postgresql", database="postgres")
    connection = await asyncpg.connect(plain.render_as_string(hide_password=False))
    try:
        await connection.execute(
            f'ALTER DATABASE "{parsed.database}" SET default_transaction_read_only = {value}'
        )
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
            parsed.database,
        )
    finally:
        await connection.close()


@pytest.mark.usefixtures("uncached")
async def test_a_read_only_postgresql_is_reported_and_recovers(cluster: Stores) -> None:
    settings = {
        **cluster.settings,
        "health_check_interval": NEVER,
        "zenzefi_target_url": "http://127.0.0.1:9",
    }
    async with running_gate(**settings) as gate:
        ready = (200, 200, "degraded")  # nothing listens where the upstream should be
        await until_reported(gate, ready)
        assert (await registered(gate))[0] == 201
        await _switch(cluster.settings["database_url"], "on")
        await until_reported(gate, LOST)
        status, response = await registered(gate)
        assert (status, response["code"]) == (503, "database_not_writable")
        await _switch(cluster.settings["database_url"], "off")
        await until_reported(gate, ready)
        assert (await registered(gate))[0] == 201


@pytest.mark.usefixtures("uncached")
async def test_a_lost_postgresql_is_reported_by_the_next_request(tmp_path: Path) -> None:
    with own_postgres() as server:
        database = Database(server.url.replace("postgresql://", "postgresql+asyncpg://"))
        await migrate.upgrade(database)
        await database.close()
        settings = {
            "database_url": server.url,
            "data_dir": tmp_path,
            "secret_key": SECRET_KEY,
            "health_check_interval": NEVER,
        }
        async with running_gate(**settings) as gate:
            await until_reported(gate, (200, 200, "degraded"))
            await asyncio.to_thread(server.stop)
            await until_reported(gate, LOST)
            await asyncio.to_thread(server.start)
            await until_reported(gate, (200, 200, "degraded"))
            assert gate.app[HEALTH].database_ok


async def test_many_health_requests_query_the_database_a_few_times(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    queried: list[float] = []
    ping = checks.ping_database

    async def counted(*args: Any, **options: Any) -> Any:
        queried.append(asyncio.get_running_loop().time())
        return await ping(*args, **options)

    monkeypatch.setattr(checks, "ping_database", counted)
    for _ in range(5):
        statuses = await asyncio.gather(*(_status(gate, "/readyz") for _ in range(20)))
        assert set(statuses) == {200}
    gaps = [later - earlier for earlier, later in itertools.pairwise(queried)]
    assert all(gap >= health._FRESH - 0.05 for gap in gaps)


async def _status(gate: GateClient, path: str) -> int:
    async with gate.get(path) as response:
        return response.status

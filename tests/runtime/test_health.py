"""Health, readiness and liveness, each for its client."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pytest_aiohttp.plugin import AiohttpClient

from tests.kit.gates import SECRET_KEY, running_gate
from tests.kit.process_app import MakeApp
from tests.kit.servers import own_postgres
from zenzefi.db import migrate
from zenzefi.db.engine import Database
from zenzefi.runtime.drain import DRAIN
from zenzefi.runtime.health import HEALTH, Health

NOWHERE = "postgresql+asyncpg://nobody@127.0.0.1:1/nothing"


async def settled(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.01)


async def checked(health: Health) -> None:
    await settled(lambda: health.database_ok is not None)


@pytest.mark.parametrize("path", ["/health", "//health"])
async def test_a_well_gate_says_so_in_the_agreed_shape(
    aiohttp_client: AiohttpClient, make_app: MakeApp, path: str
) -> None:
    app = make_app()
    client = await aiohttp_client(app)
    await checked(app[HEALTH])
    # As an absolute URL: a path of two slashes alone would name another host.
    response = await client.session.get(str(client.make_url("/")).rstrip("/") + path)
    body = await response.json()
    assert response.status == 200
    assert body["status"] == "healthy"
    assert set(body) == {"status", "service", "version", "timestamp"}
    assert (await client.get("/readyz")).status == 200


async def test_an_upstream_that_is_down_degrades_and_leaves_the_node_ready(
    aiohttp_client: AiohttpClient, make_app: MakeApp
) -> None:
    app = make_app(zenzefi_target_url="http://127.0.0.1:1")
    client = await aiohttp_client(app)
    await checked(app[HEALTH])
    response = await client.get("/health")
    assert (response.status, (await response.json())["status"]) == (200, "degraded")
    assert (await client.get("/readyz")).status == 200


@pytest.mark.parametrize(
    ("status", "state"), [(401, "healthy"), (403, "healthy"), (503, "degraded")]
)
async def test_an_upstream_that_requires_authentication_is_alive(
    aiohttp_client: AiohttpClient, make_app: MakeApp, status: int, state: str
) -> None:
    async def respond(request: web.Request) -> web.Response:
        return web.Response(status=status)

    upstream = web.Application()
    upstream.router.add_get("/", respond)
    async with TestServer(upstream) as server:
        app = make_app(zenzefi_target_url=str(server.make_url("")).rstrip("/"))
        client = await aiohttp_client(app)
        await checked(app[HEALTH])
        assert (await (await client.get("/health")).json())["status"] == state


async def test_without_its_database_it_is_unhealthy_not_ready_and_alive(
    aiohttp_client: AiohttpClient, make_app: MakeApp
) -> None:
    app = make_app(NOWHERE)
    client = await aiohttp_client(app)
    await checked(app[HEALTH])
    health = await client.get("/health")
    assert (health.status, (await health.json())["status"]) == (200, "unhealthy")
    assert (await client.get("/readyz")).status == 503
    assert (await client.get("/livez")).status == 200


async def test_a_database_that_is_silent_is_noticed_without_its_help(
    aiohttp_client: AiohttpClient, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections are accepted without a response: the driver would wait forever."""
    monkeypatch.setattr("zenzefi.db.engine.CONNECT_TIMEOUT", 3600.0)
    taken: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, w: taken.append(w), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    app = make_app(f"postgresql+asyncpg://gate@127.0.0.1:{port}/gate", health_check_interval=3600)
    client = await aiohttp_client(app)
    try:
        async with asyncio.timeout(120):  # without its own limit it takes an hour
            for _ in range(6):
                assert (await client.get("/readyz")).status == 503
                assert (await (await client.get("/health")).json())["status"] == "unhealthy"
                await asyncio.sleep(0.5)
    finally:
        silent.close()
        for writer in taken:
            writer.transport.abort()
    assert 1 <= len(taken) <= 20, "and few connections are spent on it"
    await settled(lambda: not app[HEALTH]._late)


async def test_a_draining_node_is_not_ready_and_ends_its_connections(
    aiohttp_client: AiohttpClient, make_app: MakeApp
) -> None:
    app = make_app()
    client = await aiohttp_client(app)
    await checked(app[HEALTH])
    app[DRAIN].is_draining = True
    response = await client.get("/readyz")
    assert (response.status, (await response.json())["status"]) == (503, "draining")
    assert response.headers["Connection"] == "close"
    app[DRAIN].is_draining = False


async def test_recovery_is_seen_by_the_background_check(
    aiohttp_client: AiohttpClient, make_app: MakeApp, free_port: int
) -> None:
    app = make_app(zenzefi_target_url=f"http://127.0.0.1:{free_port}", health_check_interval=0.05)
    client = await aiohttp_client(app)
    await settled(lambda: app[HEALTH].state == "degraded")
    async with TestServer(web.Application(), port=free_port):
        await settled(lambda: app[HEALTH].state == "healthy")
        assert (await (await client.get("/health")).json())["status"] == "healthy"


async def test_a_lost_database_is_seen_with_the_first_request_that_misses_it(
    tmp_path: Path,
) -> None:
    who = {"email": "ann@example.com", "password": "correct horse"}
    with own_postgres() as server:
        settings = {"database_url": server.url, "data_dir": tmp_path, "secret_key": SECRET_KEY}
        database = Database(server.url.replace("postgresql://", "postgresql+asyncpg://"))
        await migrate.upgrade(database)
        await database.close()
        async with running_gate(**settings, debug=True, health_check_interval=3600) as gate:
            await checked(gate.app[HEALTH])
            assert (await gate.get("/readyz")).status == 200
            await asyncio.to_thread(server.stop)
            async with gate.post("/api/v1/auth/login", json=who) as response:
                assert response.status == 503
            await settled(lambda: gate.app[HEALTH].database_ok is False)
            assert (await gate.get("/readyz")).status == 503
            await asyncio.to_thread(server.start)
            await settled(lambda: gate.app[HEALTH].database_ok is True)
            assert (await gate.get("/readyz")).status == 200

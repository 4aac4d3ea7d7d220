"""Fixtures for every test: real servers, a fresh database, the gate on both, and an upstream.

``gate`` runs a test twice: on PostgreSQL with Redis, and on the embedded default (SQLite with the
in-process cache). ``cluster`` is for tests that need the real servers only.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import itertools
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import CodeType
from typing import Any

import aiohttp_jinja2
import jinja2
import pytest
import redis as redis_client
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from jinja2.bccache import Bucket

from tests.kit import event_loops, ports
from tests.kit.databases import DatabasePool, administer, database_named, migrate_schema
from tests.kit.gates import SECRET_KEY, GateClient, MakeGate, Stores, running_gate
from tests.kit.process_app import MakeApp, process_app
from tests.kit.recording_upstream import RecordingUpstream
from tests.kit.servers import own_postgres, own_redis
from zenzefi.accounts import passwords
from zenzefi.db.engine import Database
from zenzefi.runtime import checks
from zenzefi.settings import Settings, load_settings

_PRIMARY = "postgres"
_EMBEDDED = "embedded"

# A slow machine is not a failure: no test asserts the duration of an example.
# On a busy machine examples and their generation take long; neither has a time limit.
hypothesis_settings.register_profile(
    "zenzefi", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("zenzefi")


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, event_loops.LoopFactory]:
    """The event loops of one test."""
    return event_loops.chosen(every=item.get_closest_marker("every_loop") is not None)


@pytest.fixture(autouse=True)
def _no_settings_from_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A developer's own environment must not change what is tested."""
    for name in (*Settings.model_fields, *(f"{name}_FILE" for name in Settings.model_fields)):
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", None)


_tests = itertools.count(1)


@pytest.fixture(autouse=True)
def _collections_visit_only_what_the_test_made() -> Iterator[None]:
    """The process of all tests has millions of objects: visiting them takes a second each time."""
    if next(_tests) % 500 == 0:
        gc.collect()  # cycles that earlier tests left
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _cheap_passwords() -> Iterator[None]:
    """The same hashing with less work: thousands of sign-ins would be most of the suite's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_context", passwords._context.copy(argon2__memory_cost=64))
        yield


class _CompiledTemplates(jinja2.BytecodeCache):
    """Compiled templates in memory, by name and content."""

    def __init__(self) -> None:
        self._code: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._code.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        assert bucket.code is not None
        self._code[bucket.key, bucket.checksum] = bucket.code


@pytest.fixture(scope="session", autouse=True)
def _templates_compiled_once() -> Iterator[None]:
    """All gates of this process share the compiled templates; a gate has only one environment."""
    make = functools.partial(aiohttp_jinja2.setup, bytecode_cache=_CompiledTemplates())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiohttp_jinja2, "setup", make)
        yield


# --- servers, once per session


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL where databases may be created."""
    named = os.environ.get("TEST_DATABASE_URL")
    if named:
        yield named
        return
    with own_postgres() as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_server_url() -> Iterator[str]:
    """The URL of a Redis that tests may flush."""
    named = os.environ.get("TEST_REDIS_URL")
    if named:
        yield named
        return
    with own_redis() as server:
        yield server.url


@pytest.fixture(scope="session")
def _postgres_template(postgres_url: str) -> Iterator[str]:
    """A database with the whole schema, to be copied for each test."""
    name = f"zz_template_{secrets.token_hex(4)}"
    asyncio.run(administer(postgres_url, f'CREATE DATABASE "{name}"'))
    asyncio.run(migrate_schema(database_named(postgres_url, name)))
    yield name
    asyncio.run(administer(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture(scope="session")
def postgres_pool(postgres_url: str, _postgres_template: str) -> DatabasePool:
    """Copies of the template that tests have returned, empty again."""
    return DatabasePool(postgres_url, _postgres_template)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the whole schema, to be copied for each test."""
    path = tmp_path_factory.mktemp("template") / "zenzefi.sqlite3"
    asyncio.run(migrate_schema(f"sqlite+aiosqlite:///{path}"))
    return path


# --- databases, one per test


@pytest.fixture
async def empty_postgres(postgres_url: str) -> AsyncIterator[str]:
    """The URL of a PostgreSQL database without any table."""
    name = f"zz_{secrets.token_hex(6)}"
    await administer(postgres_url, f'CREATE DATABASE "{name}"')
    yield database_named(postgres_url, name)
    await administer(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
async def postgres_database(postgres_url: str, postgres_pool: DatabasePool) -> AsyncIterator[str]:
    """The URL of a PostgreSQL database with the schema and no rows."""
    name = await postgres_pool.take()
    yield database_named(postgres_url, name)
    await postgres_pool.give_back(name)


@pytest.fixture
def sqlite_database(_sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a SQLite database with the schema and no rows."""
    path = tmp_path / "gate" / "zenzefi.sqlite3"
    path.parent.mkdir(exist_ok=True)
    shutil.copyfile(_sqlite_template, path)
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture
def redis_url(redis_server_url: str) -> str:
    """The URL of an empty Redis."""
    with redis_client.Redis.from_url(redis_server_url) as client:
        client.flushdb()
    return redis_server_url


@pytest.fixture(params=[_PRIMARY, _EMBEDDED])
def database_url(request: pytest.FixtureRequest) -> str:
    """Both databases, one after the other."""
    name = "postgres_database" if request.param == _PRIMARY else "sqlite_database"
    return str(request.getfixturevalue(name))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open :class:`Database` with the schema, on both kinds."""
    opened = Database(database_url)
    yield opened
    await opened.close()


# --- the upstream


@pytest.fixture
async def upstream() -> AsyncIterator[RecordingUpstream]:
    """A small upstream; without a handler of the test's own it echoes method and path."""
    holder: list[RecordingUpstream] = []

    async def respond(request: web.Request) -> web.StreamResponse:
        if request.headers.get("User-Agent") == checks.AGENT:
            return web.Response()  # the gate's background check, not what a test looks for
        holder[0].requests.append(request)
        handler = holder[0].handlers.get(request.path)
        if handler is not None:
            return await handler(request)
        return web.json_response({"method": request.method, "path": request.raw_path})

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", respond)
    server = TestServer(app)
    holder.append(RecordingUpstream(server))
    await server.start_server()
    yield holder[0]
    await server.close()


# --- the gate


@pytest.fixture(params=[_PRIMARY, _EMBEDDED])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    """PostgreSQL with Redis, then SQLite with the in-process cache."""
    common = {"secret_key": SECRET_KEY, "data_dir": tmp_path / "gate"}
    if request.param == _EMBEDDED:
        request.getfixturevalue("sqlite_database")
        return Stores(common, True)
    return Stores(
        common
        | {
            "database_url": request.getfixturevalue("postgres_database"),
            "redis_url": request.getfixturevalue("redis_url"),
        },
        False,
    )


@pytest.fixture
async def make_gate(stores: Stores) -> AsyncIterator[MakeGate]:
    """Start nodes with extra settings: ``await make_gate(token_price_1h="2.00")``."""
    async with AsyncExitStack() as stack:

        async def make(**extra: Any) -> GateClient:
            return await stack.enter_async_context(running_gate(**(stores.settings | extra)))

        yield make


@pytest.fixture
async def gate(make_gate: MakeGate, upstream: RecordingUpstream) -> GateClient:
    """A running gate in front of ``upstream``: each test runs on both kinds of stores."""
    return await make_gate(zenzefi_target_url=upstream.origin)


@pytest.fixture
def cluster(redis_url: str, postgres_database: str, tmp_path: Path) -> Stores:
    """PostgreSQL with Redis only, for tests of several nodes."""
    return Stores(
        {
            "secret_key": SECRET_KEY,
            "data_dir": tmp_path / "gate",
            "database_url": postgres_database,
            "redis_url": redis_url,
        },
        False,
    )


@pytest.fixture
def make_app(tmp_path: Path, sqlite_database: str) -> MakeApp:
    """Make applications that contain only the running process, on a real database."""

    def make(database_url: str = sqlite_database, **overrides: Any) -> web.Application:
        return process_app(load_settings({"data_dir": tmp_path, **overrides}), database_url)

    return make


@pytest.fixture
def free_port() -> int:
    """A port without a listener."""
    return ports.free_port()

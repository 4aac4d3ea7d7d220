"""Two gates in separate processes, on one PostgreSQL and one Redis, and their clients."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import redis.asyncio as redis_client
from aiohttp import ClientSession

from tests.kit.gate_process import GateProcess
from tests.kit.servers import Postgres, Redis

PROXY = "/api/v1/proxy"
Report = Callable[[str], None]
"""Prints a measurement past the capture of output."""
SOON = 30.0
"""Seconds that what must happen "within a second" gets on a busy machine; the real time is
printed."""


@dataclass
class ClusterServers:
    """The parts of a cluster, which tests stop and start again."""

    postgres: Postgres
    redis: Redis
    streaming_upstream: str
    settings: dict[str, Any]
    folder: str
    nodes: list[GateProcess] = field(default_factory=list)

    def start_node(self, **more: str) -> GateProcess:
        """One more gate."""
        settings = {"METRICS_ON_MAIN_PORT": "true"} | self.settings | more
        node = GateProcess(self.folder, **settings)
        self.nodes.append(node)
        return node


@dataclass
class PurchasedToken:
    """A purchased token and its owner."""

    id: UUID
    value: str
    user_id: UUID
    bearer: str


class Cluster:
    """The operator's and the users' view of it: everything goes over HTTP."""

    def __init__(self, servers: ClusterServers, session: ClientSession) -> None:
        self.servers = servers
        self.session = session
        self.admin = ""
        self._users = 0

    def url(self, node: int, path: str) -> str:
        """An address on one of the nodes."""
        return f"http://127.0.0.1:{self.servers.nodes[node].port}{path}"

    async def call(
        self, node: int, method: str, path: str, bearer: str | None = None, body: Any = None
    ) -> tuple[int, Any]:
        """One call of the API."""
        headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        url = self.url(node, f"/api/v1{path}")
        async with self.session.request(method, url, headers=headers, json=body) as response:
            return response.status, await response.json()

    async def sign_up(self) -> tuple[UUID, str]:
        """A new user: the id and the bearer token."""
        self._users += 1
        name = f"user{self._users}x{time.time_ns()}"
        who = {"email": f"{name}@example.com", "username": name, "password": "correct horse"}
        status, user = await self.call(0, "POST", "/auth/register", body=who)
        assert status == 201, user
        status, signed = await self.call(
            0, "POST", "/auth/login", body={k: who[k] for k in ("email", "password")}
        )
        assert status == 200, signed
        return UUID(user["id"]), signed["access_token"]

    async def buy(self, user: tuple[UUID, str], **fields: Any) -> PurchasedToken:
        """A new token."""
        body = {"duration_hours": 24} | fields
        status, token = await self.call(0, "POST", "/tokens/purchase", user[1], body)
        assert status == 201, token
        return PurchasedToken(UUID(token["id"]), token["token"], *user)

    async def make_admin(self) -> str:
        """The bearer token of an administrator."""
        if not self.admin:
            user_id, self.admin = await self.sign_up()
            async with self.database() as connection:
                await connection.execute(
                    "UPDATE users SET is_superuser = true WHERE id = $1", user_id
                )
        return self.admin

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the test's own."""
        connection = await asyncpg.connect(self.servers.postgres.url)
        try:
            yield connection
        finally:
            await connection.close()

    @contextlib.asynccontextmanager
    async def redis(self) -> AsyncIterator[redis_client.Redis]:
        """A client of the test's own."""
        async with redis_client.Redis.from_url(self.servers.redis.url) as client:
            yield client

    async def get(
        self, node: int, token: str, path: str = "/x", **headers: str
    ) -> tuple[int, str | None]:
        """One request through the gate: the status, and the code of a refusal."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.get(
            self.url(node, PROXY + path), headers={"X-Access-Token": token, **named}
        ) as response:
            body = await response.json(content_type=None)
            return response.status, body.get("code")

    async def metric(self, node: int, name: str) -> float:
        """The value of one series of ``/metrics``."""
        async with self.session.get(self.url(node, "/metrics")) as response:
            lines = (await response.text()).splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    async def wait_until_ready(self) -> None:
        """Wait until every node receives invalidation messages and reaches the database."""
        for number, _ in enumerate(self.servers.nodes):
            await until(partial(self._is_well, number))

    async def _is_well(self, number: int) -> bool:
        if await self.metric(number, "ends_subscription") != 1:
            return False
        async with self.session.get(self.url(number, "/readyz")) as response:
            return response.status == 200


async def until(condition: Callable[[], Awaitable[bool]], *, within: float = SOON) -> float:
    """Wait for it; the seconds it took."""
    started = time.perf_counter()
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110 - it becomes true in other processes
            await asyncio.sleep(0.01)
    return time.perf_counter() - started

"""Two gates in processes of their own, on one PostgreSQL and one Redis, and what uses them."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import redis.asyncio as redis_client
from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, WSMsgType, web

from tests.commands.gate import Gate
from tests.servers import Postgres, Redis, free_port

PROXY = "/api/v1/proxy"
SOON = 15.0
"""Seconds that what must happen "within a second" gets on a busy machine; the real time is
printed."""


# --- the upstream, in a thread of its own: it outlives the event loop of a single test


async def _answer(request: web.Request) -> web.StreamResponse:
    return web.json_response({"path": request.raw_path})


async def _socket(request: web.Request) -> web.StreamResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        if message.type is WSMsgType.TEXT:
            await ws.send_str(message.data)
    return ws


async def _without_end(request: web.Request, content_type: str, piece: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": content_type})
    await response.prepare(request)
    with contextlib.suppress(ConnectionResetError):
        while True:
            await response.write(piece)
            await asyncio.sleep(0.05)
    return response


async def _events(request: web.Request) -> web.StreamResponse:
    return await _without_end(request, "text/event-stream", b"data: x\n\n")


async def _download(request: web.Request) -> web.StreamResponse:
    return await _without_end(request, "application/octet-stream", b"x" * 4096)


@contextlib.contextmanager
def upstream() -> Iterator[str]:
    """A small application; its origin."""
    port = free_port()
    loop = asyncio.new_event_loop()
    app = web.Application()
    app.router.add_get("/socket", _socket)
    app.router.add_get("/events", _events)
    app.router.add_get("/download", _download)
    app.router.add_route("*", "/{tail:.*}", _answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()

    thread = threading.Thread(target=loop.run_forever, name="upstream", daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


# --- the cluster


@dataclass
class Servers:
    """What a cluster is made of: to be broken and mended."""

    postgres: Postgres
    redis: Redis
    upstream: str
    settings: dict[str, str]
    folder: str
    nodes: list[Gate] = field(default_factory=list)

    def start_node(self, **more: str) -> Gate:
        """One more gate."""
        node = Gate(self.folder, **(self.settings | more))
        self.nodes.append(node)
        return node


@dataclass
class Token:
    """A bought token, and who bought it."""

    id: UUID
    value: str
    user_id: UUID
    bearer: str


class Cluster:
    """The operator's and the users' view of it: everything goes over HTTP."""

    def __init__(self, servers: Servers, session: ClientSession) -> None:
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

    async def buy(self, user: tuple[UUID, str], **fields: Any) -> Token:
        """A new token."""
        body = {"duration_hours": 24} | fields
        status, token = await self.call(0, "POST", "/tokens/purchase", user[1], body)
        assert status == 201, token
        return Token(UUID(token["id"]), token["token"], *user)

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

    async def live(self) -> None:
        """Wait until every node hears of ends at once, and the database answers them."""
        for number, _ in enumerate(self.servers.nodes):
            await until(lambda number=number: self._is_well(number))

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


# --- what is open under a token


@dataclass
class Watched:
    """Everything that one token may have open on a node, and when each of it ended.

    Times are those of ``time.perf_counter``.
    """

    ended: dict[str, float] = field(default_factory=dict)
    close_code: int | None = None
    close_reason: str | None = None
    statuses: list[int] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def all_ended(self) -> None:
        """Wait until nothing is open any more."""
        async with asyncio.timeout(SOON):
            await asyncio.gather(*self.tasks)

    def cancel(self) -> None:
        """Let go of what is still open."""
        for task in self.tasks:
            task.cancel()


WAYS = ("request", "websocket", "events", "download")


async def watch(
    cluster: Cluster, node: int, token: str, *, ways: tuple[str, ...] = WAYS, **headers: str
) -> Watched:
    """Open one of each way on ``node``; returns once everything flows.

    The token goes in the header, unless a ``Cookie`` is among ``headers``.
    """
    found = Watched()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if "Cookie" not in named:
        named["X-Access-Token"] = token
    flowing = {way: asyncio.Event() for way in ways}

    async def request() -> None:
        while True:
            url = cluster.url(node, PROXY + "/x")
            with contextlib.suppress(ClientError):  # one on its way may be broken off
                async with cluster.session.get(url, headers=named) as response:
                    await response.read()
                if response.status != 200:
                    found.statuses.append(response.status)
                    return
                flowing["request"].set()
            await asyncio.sleep(0.01)

    async def websocket() -> None:
        url = cluster.url(node, PROXY + "/socket")
        async with cluster.session.ws_connect(url, headers=named) as ws:
            await ws.send_str("hello")
            await ws.receive()
            flowing["websocket"].set()
            await _closed(ws)

    async def _closed(ws: ClientWebSocketResponse) -> None:
        while (message := await ws.receive()).type is WSMsgType.TEXT:
            pass
        found.close_code, found.close_reason = ws.close_code, message.extra

    async def stream(way: str) -> None:
        url = cluster.url(node, f"{PROXY}/{way}")
        with contextlib.suppress(ClientError):
            async with cluster.session.get(url, headers=named) as response:
                async for _ in response.content.iter_any():
                    flowing[way].set()

    async def timed(way: str, work: Awaitable[None]) -> None:
        await work
        found.ended[way] = time.perf_counter()

    works = {"request": request, "websocket": websocket}
    for way in ways:
        work = works[way]() if way in works else stream(way)
        found.tasks.append(asyncio.create_task(timed(way, work), name=way))
    async with asyncio.timeout(SOON):
        for event in flowing.values():
            await event.wait()
    return found


class Table:
    """Times from an end to its effect, printed as median and worst."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], list[float]] = {}

    def add(self, what: str, way: str, seconds: float) -> None:
        """One more."""
        self._times.setdefault((what, way), []).append(seconds)

    def lines(self) -> list[str]:
        """The rows."""
        return [
            f"{what:<12} {way:<10} median {statistics.median(took) * 1000:7.1f} ms   "
            f"worst of {len(took)} {max(took) * 1000:7.1f} ms"
            for (what, way), took in self._times.items()
        ]

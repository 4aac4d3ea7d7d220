"""Everything that one token may have open on a node, and when each of it ended."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientWebSocketResponse, WSMsgType

from tests.kit.cluster import PROXY, SOON, Cluster


@dataclass
class OpenConnections:
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


KINDS = ("request", "websocket", "events", "download")


async def open_connections(
    cluster: Cluster, node: int, token: str, *, ways: tuple[str, ...] = KINDS, **headers: Any
) -> OpenConnections:
    """Open one of each way on ``node``; returns once everything flows.

    The token goes in the header, unless a ``Cookie`` is among ``headers``.
    """
    found = OpenConnections()
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


class LatencyTable:
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

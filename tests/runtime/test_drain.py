"""Going away loses no request, and never takes longer than it may."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from zenzefi.http.request_handler import GateRequestHandler
from zenzefi.runtime import drain
from zenzefi.runtime.drain import DRAIN, REQUEST_HANDLER, GateRunner, ListeningSite
from zenzefi.runtime.server import serve
from zenzefi.runtime.sockets import PortTaken, bind
from zenzefi.settings import SETTINGS, Settings


class Slow:
    """An application whose responses take as long as the test wants."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.begun = asyncio.Event()
        self.done = 0
        self.app = web.Application()
        self.app.router.add_get("/slow", self._slow)
        self.app.router.add_post("/fast", self._fast)
        self.app[SETTINGS] = Settings(_env_file=None, debug=True)
        self.app[REQUEST_HANDLER] = GateRequestHandler
        drain.setup(self.app)

    async def _slow(self, request: web.Request) -> web.Response:
        self.begun.set()
        await self.go_on.wait()
        self.done += 1
        return web.Response(text="whole")

    async def _fast(self, request: web.Request) -> web.Response:
        return web.Response(text=await request.text())


@contextlib.asynccontextmanager
async def running(app: web.Application, **options: float) -> AsyncIterator[tuple[GateRunner, str]]:
    (sock,) = bind("127.0.0.1", 0)
    runner = GateRunner(app, **options)
    await runner.setup()
    await ListeningSite(runner, sock).start()
    try:
        yield runner, f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        await runner.cleanup()


async def test_what_is_in_flight_is_finished() -> None:
    slow = Slow()
    async with running(slow.app) as (runner, origin), aiohttp.ClientSession() as client:
        asking = asyncio.create_task(client.get(f"{origin}/slow"), name="asking")
        await slow.begun.wait()
        stopping = asyncio.create_task(runner.cleanup(), name="stopping")
        while not slow.app[DRAIN].is_draining:  # noqa: ASYNC110 - a plain flag
            await asyncio.sleep(0)
        slow.go_on.set()
        response = await asking
        assert (response.status, await response.text()) == (200, "whole")
        assert response.headers["Connection"] == "close"
        await stopping


async def test_the_deadline_ends_what_does_not_finish() -> None:
    slow = Slow()
    async with (
        running(slow.app, drain_timeout=0.1) as (runner, origin),
        aiohttp.ClientSession() as client,
    ):
        asking = asyncio.create_task(client.get(f"{origin}/slow"), name="asking")
        await slow.begun.wait()
        async with asyncio.timeout(5):
            await runner.cleanup()
        with pytest.raises(aiohttp.ClientError):
            await asking
        assert slow.done == 0


async def test_a_busy_keep_alive_client_sees_no_failure_until_the_listener_is_closed() -> None:
    """Each request has a whole response or was refused before it was sent."""
    slow = Slow()
    served = refused = 0
    async with running(slow.app) as (runner, origin), aiohttp.ClientSession() as client:

        async def asking(number: int) -> None:
            nonlocal served, refused
            for turn in range(100_000):
                text = f"{number}.{turn}"
                try:
                    async with client.post(f"{origin}/fast", data=text) as response:
                        assert await response.text() == text
                        served += 1
                except aiohttp.ClientConnectorError:
                    refused += 1
                    return

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(asking(number), name=f"client {number}")
            while served < 200:  # noqa: ASYNC110 - a plain counter
                await asyncio.sleep(0)
            await runner.cleanup()
    assert refused == 8
    assert served >= 200


async def test_connections_that_wait_in_the_kernel_are_served() -> None:
    slow = Slow()
    async with running(slow.app) as (runner, origin):
        port = int(origin.rpartition(":")[2])
        # Connected, but the loop had no turn to accept: only the kernel knows of it yet.
        waiting = socket.create_connection(("127.0.0.1", port))
        waiting.sendall(b"POST /fast HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
        await runner.cleanup()
        waiting.setblocking(True)
        waiting.settimeout(5)
        received = await asyncio.to_thread(waiting.recv, 4096)
        waiting.close()
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert received.endswith(b"hi")


async def test_another_request_handler_takes_its_place() -> None:
    class Counting(GateRequestHandler):
        __slots__ = ()
        made = 0

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            Counting.made += 1
            super().connection_made(transport)

    slow = Slow()
    slow.app[REQUEST_HANDLER] = Counting
    async with (
        running(slow.app) as (_, origin),
        aiohttp.ClientSession() as client,
        client.post(f"{origin}/fast", data="x") as response,
    ):
        assert await response.text() == "x"
    assert Counting.made == 1


async def test_two_gates_never_share_a_port_by_mistake() -> None:
    first = bind("127.0.0.1", 0, count=2)
    port = first[0].getsockname()[1]
    try:
        assert {sock.getsockname()[1] for sock in first} == {port}
        with pytest.raises(PortTaken, match="another program uses it"):
            bind("127.0.0.1", port, count=2)
    finally:
        for sock in first:
            sock.close()


async def test_sighup_reloads_and_sigterm_ends() -> None:
    slow = Slow()
    reloads = asyncio.Event()
    ready = asyncio.Event()

    async def reload() -> None:
        reloads.set()

    serving = asyncio.create_task(
        serve(slow.app, bind("127.0.0.1", 0), on_reload=reload, on_ready=ready.set), name="serving"
    )
    async with asyncio.timeout(10):
        await ready.wait()
        os.kill(os.getpid(), signal.SIGHUP)
        await reloads.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await serving

"""A gate on a free port, in front of a real upstream, with tokens kept in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar, web
from aiohttp.test_utils import unused_port

from tests.kit.echo_upstream import echo_upstream
from tests.kit.faulty_upstream import FaultyUpstream
from tests.kit.proxy_gates import (
    PREFIX,
    TOKEN,
    BrowserMount,
    GateFactory,
    MemoryTokenValidator,
    MountFactory,
    RunningGate,
    proxy_app,
)
from zenzefi.runtime.drain import GateRunner


@pytest.fixture(params=[True, False], ids=["fast-path", "standard-path"])
def fast_path(request: pytest.FixtureRequest) -> bool:
    """Every black-box test runs with the fast path and without it."""
    return bool(request.param)


@pytest.fixture
async def start_gate(tmp_path: Path, fast_path: bool) -> AsyncIterator[GateFactory]:
    """Starts gates in front of an upstream's origin; settings as keyword arguments."""
    runners: list[GateRunner] = []

    async def start(upstream_url: str, *, devices: Any = None, **settings: Any) -> RunningGate:
        port = unused_port()
        tokens = MemoryTokenValidator()
        tokens.add(activated=fast_path)  # the fast path serves only activated tokens
        settings = {"fast_lane": fast_path, **settings}
        app = proxy_app(tokens, tmp_path, upstream_url, port, devices=devices, **settings)
        runner = GateRunner(app, drain_timeout=2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        runners.append(runner)
        return RunningGate(port, app, tokens)

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
def upstream_app() -> web.Application:
    """The well-behaved upstream: echoes each request."""
    return echo_upstream()


@pytest.fixture
async def upstream(upstream_app: web.Application) -> AsyncIterator[str]:
    """Its origin."""
    runner = web.AppRunner(upstream_app, auto_decompress=False, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{site.port}"
    await runner.cleanup()


@pytest.fixture
async def gate(start_gate: GateFactory, upstream: str) -> RunningGate:
    """A gate in front of the well-behaved upstream."""
    return await start_gate(upstream)


@pytest.fixture(params=["own-origin", "prefix"])
async def start_mount(request: pytest.FixtureRequest, start_gate: GateFactory) -> MountFactory:
    """Starts gates for browsers, at both values of BROWSER_MOUNT."""

    async def start(upstream_url: str, **settings: Any) -> BrowserMount:
        gate = await start_gate(upstream_url, browser_mount=request.param, **settings)
        if request.param == "prefix":
            return BrowserMount(gate, request.param, gate.proxy_url, PREFIX, gate.url, {})
        own = f"app.localhost:{gate.port}"
        return BrowserMount(gate, request.param, gate.url, "", f"http://{own}", {"Host": own})

    return start


@pytest.fixture
async def browser_mount(start_mount: MountFactory, upstream: str) -> BrowserMount:
    """A gate for browsers in front of the well-behaved upstream, at both mounts."""
    return await start_mount(upstream)


@pytest.fixture
async def prefix_gate(start_gate: GateFactory, upstream: str) -> RunningGate:
    """A gate where browsers may use the prefix."""
    return await start_gate(upstream, browser_mount="prefix")


@pytest.fixture
async def faulty() -> AsyncIterator[FaultyUpstream]:
    """An upstream that does what a test tells it to, byte by byte."""
    server = FaultyUpstream()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    """A client that keeps bytes as they are and sends the token."""
    async with ClientSession(
        headers={"X-Access-Token": TOKEN}, auto_decompress=False, cookie_jar=DummyCookieJar()
    ) as session:
        yield session


@pytest.fixture
def free_port() -> int:
    """A port without a listener."""
    return unused_port()

"""Fixtures for the reverse proxy alone: gates with tokens in memory, and upstreams for them."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.kit import ports
from tests.kit.echo_upstream import echo_upstream, serving
from tests.kit.faulty_upstream import FaultyUpstream
from tests.kit.proxy_gates import GateFactory, MemoryTokenValidator, RunningGate, proxy_app
from zenzefi.runtime.drain import GateRunner


@pytest.fixture(params=[True, False], ids=["at once", "by a task"])
def at_once(request: pytest.FixtureRequest) -> bool:
    """Every black-box test runs with requests admitted at once, and admitted by a task."""
    return bool(request.param)


@pytest.fixture
async def start_gate(tmp_path: Path, at_once: bool) -> AsyncIterator[GateFactory]:
    """Starts gates in front of an upstream's origin; settings as keyword arguments."""
    runners: list[GateRunner] = []

    async def start(
        upstream_url: str,
        *,
        devices: Any = None,
        tls: ssl.SSLContext | None = None,
        **settings: Any,
    ) -> RunningGate:
        port = ports.free_port()
        tokens = MemoryTokenValidator()
        tokens.add(activated=at_once)  # only activated tokens are admitted at once
        settings = {"fast_lane": at_once, **settings}
        app = proxy_app(tokens, tmp_path, upstream_url, port, devices=devices, **settings)
        runner = GateRunner(app, drain_timeout=2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1024, ssl_context=tls).start()
        runners.append(runner)
        return RunningGate(port, app, tokens)

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def echo_url() -> AsyncIterator[str]:
    """The origin of an upstream that echoes each request."""
    async with serving(echo_upstream()) as origin:
        yield origin


@pytest.fixture
async def proxy_gate(start_gate: GateFactory, echo_url: str) -> RunningGate:
    """A gate in front of the upstream that echoes."""
    return await start_gate(echo_url)


@pytest.fixture
async def faulty() -> AsyncIterator[FaultyUpstream]:
    """An upstream whose responses a test sets byte by byte."""
    server = FaultyUpstream()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def loop_errors(caplog: pytest.LogCaptureFixture) -> AsyncIterator[list[str]]:
    """The errors that the event loop and the logs report; the test fails if there are any."""
    found: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: found.append(repr(context)))
    yield found
    gc.collect()
    await asyncio.sleep(0)
    loop.set_exception_handler(None)
    found += [record.getMessage() for record in caplog.records if record.exc_info]
    assert found == []

"""Gates in front of an upstream that echoes, clients for them, and gates for browsers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar, web

from tests.kit.echo_upstream import echo_upstream, serving
from tests.kit.ports import free_port
from tests.kit.proxy_gates import (
    PREFIX,
    TOKEN,
    BrowserMount,
    GateFactory,
    MountFactory,
    RunningGate,
)
from tests.kit.raw_connections import Connect, RawConnection
from tests.kit.visiting_browser import OTHER_TOKEN


@pytest.fixture
def upstream_app() -> web.Application:
    """The well-behaved upstream: echoes each request."""
    return echo_upstream()


@pytest.fixture
async def upstream(upstream_app: web.Application) -> AsyncIterator[str]:
    """Its origin."""
    async with serving(upstream_app) as origin:
        yield origin


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
async def client() -> AsyncIterator[ClientSession]:
    """A client that keeps bytes as they are and sends the token."""
    async with ClientSession(
        headers={"X-Access-Token": TOKEN}, auto_decompress=False, cookie_jar=DummyCookieJar()
    ) as session:
        yield session


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens raw keep-alive connections to a gate."""
    browsers: list[RawConnection] = []

    async def connect(gate: RunningGate) -> RawConnection:
        browser = RawConnection(*await asyncio.open_connection("127.0.0.1", gate.port))
        browsers.append(browser)
        return browser

    yield connect
    for browser in browsers:
        browser.close()


@pytest.fixture(params=["another-name", "another-host", "second-port"])
async def own_origin_gate(
    request: pytest.FixtureRequest, start_gate: GateFactory, upstream: str
) -> RunningGate:
    """A gate with a separate origin of each kind; cookies are shared on the second port."""
    kinds: dict[str, dict[str, Any]] = {
        "another-name": {},
        "another-host": {"proxy_host": "app.test"},
        "second-port": {"proxy_port": free_port()},
    }
    gate = await start_gate(upstream, **kinds[request.param])
    gate.tokens.add(OTHER_TOKEN)
    return gate

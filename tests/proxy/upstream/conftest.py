"""Upstreams that count or authenticate connections, and a client without a limit."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, TCPConnector

from tests.kit.authenticating_upstream import AuthenticatingUpstream, ServeAuthenticating
from tests.kit.counting_upstream import CountingUpstream


@pytest.fixture
async def serve() -> AsyncIterator[ServeAuthenticating]:
    """Starts upstreams that authenticate connections; class attributes as keyword arguments."""
    running: list[type[AuthenticatingUpstream]] = []

    async def start(**attributes: str) -> type[AuthenticatingUpstream]:
        running.append(await AuthenticatingUpstream.serve(**attributes))
        return running[-1]

    yield start
    for upstream in running:
        await upstream.stop()


@pytest.fixture
async def counting() -> AsyncIterator[type[CountingUpstream]]:
    """An upstream that counts its connections."""
    server = await CountingUpstream.serve()
    yield server
    await server.stop()


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    """A client without a limit of connections."""
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        yield session

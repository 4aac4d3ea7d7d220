"""A listener that is about to close takes no new connection, so that it resets none."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator

import pytest

from zenzefi.runtime import new_connections

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="socket filters are Linux's")


@pytest.fixture(params=["127.0.0.1", "::1"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as sock:
        sock.setblocking(False)
        yield sock


async def test_a_connection_that_begins_before_the_close_is_refused_and_not_reset(
    listener: socket.socket,
) -> None:
    loop = asyncio.get_running_loop()
    new_connections.refuse(listener)
    with socket.socket(listener.family) as client:
        client.setblocking(False)
        connecting = asyncio.ensure_future(loop.sock_connect(client, listener.getsockname()))
        await asyncio.sleep(0)  # the SYN has been sent: on loopback it has also arrived
        with pytest.raises(BlockingIOError):
            listener.accept()
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            await connecting


async def test_connections_of_before_are_accepted_and_stay_open(listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_connection(listener.getsockname()[:2]) as client:
        new_connections.refuse(listener)
        accepted, _ = listener.accept()
        listener.close()
        with accepted:
            await loop.run_in_executor(None, client.sendall, b"request")
            assert await loop.run_in_executor(None, accepted.recv, 100) == b"request"


async def test_a_replacement_at_the_same_socket_takes_connections_again(
    listener: socket.socket,
) -> None:
    new_connections.refuse(listener)
    new_connections.permit(listener)
    new_connections.permit(listener)  # without a filter it does nothing
    with socket.create_connection(listener.getsockname()[:2], timeout=10):
        accepted, _ = listener.accept()
        accepted.close()

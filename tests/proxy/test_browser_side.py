"""What a browser does at the worst moment, and what it is sent: on both ways, over sockets."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from tests.proxy.conftest import PREFIX, TOKEN


@pytest.fixture
async def complaints(caplog) -> AsyncIterator[list[str]]:
    """What the event loop and the logs complain of."""
    found: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: found.append(repr(context)))
    yield found
    gc.collect()
    await asyncio.sleep(0)
    loop.set_exception_handler(None)
    found += [record.getMessage() for record in caplog.records if record.exc_info]
    assert found == []


def request(path: str, *headers: str, method: str = "GET") -> bytes:
    lines = [f"{method} {PREFIX}{path} HTTP/1.1", "Host: gate.test", f"X-Access-Token: {TOKEN}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port))


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("kind", ["text/html", "a/b"])
async def test_a_browser_may_leave_in_the_very_turn_in_which_its_response_comes(
    start_gate, complaints, kind
):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gate = await start_gate(f"http://127.0.0.1:{listener.getsockname()[1]}")
        for _ in range(20):
            browser = connected(gate.port)
            browser.send(request("/x"))
            upstream, _ = await asyncio.to_thread(listener.accept)
            await asyncio.to_thread(upstream.recv, 65536)
            # Nothing is awaited in between: the gate finds both in one turn of its loop.
            reset(browser)
            upstream.send(
                f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 2\r\n\r\nhi".encode()
            )
            await asyncio.sleep(0.01)
            upstream.close()
            await asyncio.sleep(0.01)
        gc.collect()

"""A WebSocket over TLS whose browser ends its side: received bytes are delivered."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from tests.kit.proxy_gates import GateFactory
from tests.kit.raw_websockets import ACCEPTED, HANDSHAKE, frame, receive_exactly, receive_head
from tests.kit.tls_sockets import TlsSocket
from zenzefi.client.certificate import server_context

pytestmark = [pytest.mark.every_loop, pytest.mark.usefixtures("loop_errors")]


@pytest.fixture
def at_once() -> bool:
    """As by default: WebSockets are served by a task in both cases."""
    return True


@pytest.mark.parametrize("size", [10, 60_000])
async def test_frames_that_came_before_the_browsers_end_are_delivered(
    start_gate: GateFactory, tmp_path: Path, size: int
) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        gate = await start_gate(url, tls=server_context(tmp_path / "tls")[0])
        browser = TlsSocket(gate.port)
        await browser.shake_hands()
        browser.send(HANDSHAKE)
        upstream, _ = await loop.sock_accept(listener)
        assert await receive_head(upstream)
        await loop.sock_sendall(upstream, ACCEPTED)
        assert (await browser.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        up, down = frame(b"up" * size, masked=True), frame(b"down" * size)
        # The event loop learns of the browser's end first, and of the upstream's frame with it.
        browser.send(up)
        browser.send_end()
        upstream.sendall(down)
        assert await browser.read_until(down) == down
        assert await receive_exactly(upstream, len(up)) == up
        browser.close()
        upstream.close()

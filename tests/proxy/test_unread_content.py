"""Contents that an upstream does not read: no reuse of its connection, and clients that leave."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.kit.contents import request
from tests.kit.proxy_gates import GateFactory
from tests.kit.raw_connections import Connect, forwarding_of
from tests.kit.raw_websockets import receive_head, reset
from tests.kit.waiting import until

RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.every_loop
async def test_a_connection_with_unsent_content_is_not_used_again(
    start_gate: GateFactory, connect: Connect
) -> None:
    """The next request would wait behind the content, which the upstream may never read."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.setblocking(False)
        gate = await start_gate(f"http://127.0.0.1:{listener.getsockname()[1]}")
        gate.tokens.add(activated=True)
        browser = await connect(gate)
        browser.writer.write(request("POST", b"x"))
        upstream, _ = await loop.sock_accept(listener)
        assert await receive_head(upstream)
        await loop.sock_recv(upstream, 1)
        await loop.sock_sendall(upstream, RESPONSE)
        assert (await browser.read()).body == b"ok"
        (connection,) = forwarding_of(gate).connections
        sock = connection.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        browser.writer.write(request("POST", b"z" * 60_000))
        assert await receive_head(upstream)
        await until(connection.transport.get_write_buffer_size)
        await loop.sock_sendall(upstream, RESPONSE)
        assert (await browser.read()).body == b"ok"
        await until(lambda: not forwarding_of(gate).connections)
        upstream.close()


@pytest.mark.every_loop
@pytest.mark.parametrize("sizes", [(), (1_000_000,)], ids=["length", "chunks"])
async def test_a_reset_is_noticed_while_an_upload_waits(
    start_gate: GateFactory, sizes: tuple[int, ...]
) -> None:
    """Nothing is read from the client then, so that the event loop does not report the reset."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        gate = await start_gate(f"http://127.0.0.1:{listener.getsockname()[1]}")
        browser = socket.create_connection(("127.0.0.1", gate.port))
        browser.setblocking(False)
        content = request("POST", b"z" * 30_000_000, sizes=sizes)
        sending = asyncio.create_task(loop.sock_sendall(browser, content))
        upstream, _ = await loop.sock_accept(listener)
        await until(lambda: forwarding_of(gate).connections)
        (connection,) = forwarding_of(gate).connections
        await until(lambda: connection.transport.get_write_buffer_size() > 60_000)
        await asyncio.wait([sending], timeout=0.3)
        sending.cancel()
        await asyncio.wait([sending])
        reset(browser)
        await until(lambda: not forwarding_of(gate).connections)
        upstream.close()

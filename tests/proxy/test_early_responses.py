"""Responses that come before the end of the content: the client still gets them."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.kit.contents import request
from tests.kit.proxy_gates import GateFactory
from tests.kit.raw_connections import forwarding_of
from tests.kit.raw_websockets import receive_head
from tests.kit.waiting import until

REFUSAL = b"HTTP/1.1 413 Too Large\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nno"


@pytest.mark.every_loop
@pytest.mark.parametrize("sizes", [(), (1_000_000,)], ids=["length", "chunks"])
async def test_a_client_that_sends_first_and_reads_later_gets_an_early_response(
    start_gate: GateFactory, sizes: tuple[int, ...]
) -> None:
    """Its upload waits for the upstream at that moment, and nothing is read from it."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        gate = await start_gate(f"http://127.0.0.1:{listener.getsockname()[1]}")
        gate.tokens.add(activated=True)
        with socket.create_connection(("127.0.0.1", gate.port)) as browser:
            browser.setblocking(False)
            content = request("POST", b"z" * 30_000_000, sizes=sizes)
            sending = asyncio.create_task(loop.sock_sendall(browser, content))
            upstream, _ = await loop.sock_accept(listener)
            with upstream:
                assert await receive_head(upstream)
                await until(lambda: forwarding_of(gate).connections)
                (connection,) = forwarding_of(gate).connections
                await until(lambda: connection.transport.get_write_buffer_size() > 60_000)
                await loop.sock_sendall(upstream, REFUSAL)
                async with asyncio.timeout(20):
                    await sending
                    assert (await loop.sock_recv(browser, 65536)).startswith(b"HTTP/1.1 413")

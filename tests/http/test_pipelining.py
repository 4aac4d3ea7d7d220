"""Pipelined requests: responses in order, and limits for reading ahead."""

import asyncio
import contextlib
import socket

import pytest

from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, GateFactory, RunningGate
from tests.kit.raw_requests import AUTH, HOST


async def test_hundreds_of_pipelined_requests_get_their_responses_in_order(
    proxy_gate: RunningGate,
) -> None:
    one = f"GET {PREFIX}/n%d HTTP/1.1\r\n{HOST}\r\n{AUTH}\r\n\r\n"
    last = f"GET {PREFIX}/last HTTP/1.1\r\n{HOST}\r\n{AUTH}\r\nConnection: close\r\n\r\n"
    flood = "".join(one % i for i in range(300)) + last
    response = await proxy_gate.raw(flood.encode(), timeout=20)
    positions = [response.index(f'"target": "/n{i}"'.encode()) for i in range(300)]
    assert positions == sorted(positions)
    assert b'"target": "/last"' in response


async def test_a_flood_after_a_waiting_request_is_not_read(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    """Not more than the gate keeps and the system itself takes for a socket."""

    async def script(wire: Wire) -> None:
        await wire.stall()

    faulty.script = script
    gate = await start_gate(faulty.url)
    one = f"GET {PREFIX}/x HTTP/1.1\r\n{HOST}\r\n{AUTH}\r\n\r\n".encode()
    piece, taken = one * 1000, 0
    with socket.socket() as sock:
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", gate.port))
        with contextlib.suppress(TimeoutError):
            while taken < 24_000_000:
                async with asyncio.timeout(2):
                    await loop.sock_sendall(sock, piece)
                taken += len(piece)
    assert taken < 16_000_000


@pytest.mark.parametrize("together", [1, 20])
async def test_a_client_that_reads_no_response_gets_a_limited_number(
    start_gate: GateFactory, faulty: FaultyUpstream, together: int
) -> None:
    async def script(wire: Wire) -> None:
        body = b"z" * 30_000
        while True:
            await wire.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 30000\r\n\r\n" + body
            )
            faulty.heads.append(await wire.read_head())

    faulty.script = script
    gate = await start_gate(faulty.url)
    one = f"GET {PREFIX}/x HTTP/1.1\r\n{HOST}\r\n{AUTH}\r\n\r\n".encode() * together
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", gate.port))
        for _ in range(1200 // together):  # 36 MB of responses
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await loop.sock_sendall(sock, one)
            await asyncio.sleep(0)
        await asyncio.sleep(0.5)
        assert len(faulty.heads) < 400  # what the system itself takes for a socket

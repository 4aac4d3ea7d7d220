"""The addresses of a name are tried in turn (RFC 8305)."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from tests.kit.faulty_upstream import IMAGE_RESPONSE, FaultyUpstream
from tests.kit.proxy_gates import PREFIX, GateFactory
from tests.kit.waiting import until
from zenzefi.proxy.upstream import pool
from zenzefi.proxy.upstream.dialing import Address, connect_first, dial, interleaved

V4 = [Address(socket.AF_INET, (f"192.0.2.{number}", 80)) for number in range(3)]
V6 = [Address(socket.AF_INET6, (f"2001:db8::{number}", 80, 0, 0)) for number in range(3)]


class Network:
    """Addresses that connect, refuse, or never respond."""

    def __init__(self, *, silent: list[Address], refused: list[Address]) -> None:
        self.silent = silent
        self.refused = refused
        self.attempts: list[Address] = []
        self.cancelled: list[Address] = []
        self.sockets: list[socket.socket] = []

    async def connect(self, address: Address) -> socket.socket:
        self.attempts.append(address)
        if address in self.refused:
            raise ConnectionRefusedError(str(address.sockaddr[0]))
        if address in self.silent:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.cancelled.append(address)
                raise
        self.sockets.append(socket.socket(address.family))
        return self.sockets[-1]


def test_families_alternate_and_the_first_one_stays_first() -> None:
    assert interleaved([*V6, *V4[:1]]) == [V6[0], V4[0], V6[1], V6[2]]
    assert interleaved([V4[0], V4[0], *V6[:2], V4[1]]) == [V4[0], V6[0], V4[1], V6[1]]
    assert interleaved([]) == []


async def test_a_silent_address_does_not_hold_up_the_next_one() -> None:
    network = Network(silent=[V6[0]], refused=[])
    connected = await connect_first([V6[0], V4[0], V6[1]], network.connect, delay=0)
    assert connected.family == socket.AF_INET
    assert network.attempts == [V6[0], V4[0]]
    assert network.cancelled == [V6[0]]
    connected.close()


async def test_a_refusal_starts_the_next_attempt_at_once() -> None:
    network = Network(silent=[], refused=V6)
    async with asyncio.timeout(5):
        connected = await connect_first([*V6, V4[0]], network.connect, delay=3600)
    assert network.attempts == [*V6, V4[0]]
    connected.close()


async def test_if_all_attempts_fail_the_first_error_is_raised() -> None:
    network = Network(silent=[], refused=[*V6, *V4])
    with pytest.raises(ConnectionRefusedError, match="2001:db8::0"):
        await connect_first([V6[0], V4[0]], network.connect)
    with pytest.raises(OSError, match="no address"):
        await connect_first([], network.connect)


async def test_a_cancelled_wait_cancels_the_attempts() -> None:
    network = Network(silent=V4, refused=[])
    waiting = asyncio.ensure_future(connect_first(V4, network.connect, delay=0))
    await until(lambda: network.attempts == V4)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert sorted(network.cancelled) == V4


async def test_sockets_that_connect_at_the_same_time_are_closed_except_one() -> None:
    network = Network(silent=[], refused=[])
    all_have_started = asyncio.Barrier(len(V4))

    async def connect(address: Address) -> socket.socket:
        await all_have_started.wait()
        return await network.connect(address)

    connected = await connect_first(V4, connect, delay=0)
    assert len(network.sockets) == 3
    assert [one for one in network.sockets if one.fileno() >= 0] == [connected]
    connected.close()


@pytest.mark.every_loop
async def test_the_gate_reaches_an_upstream_at_its_second_address(
    start_gate: GateFactory, faulty: FaultyUpstream, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty.keep_responding(IMAGE_RESPONSE)
    port = int(faulty.url.rpartition(":")[2])
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def resolve(host: str, *arguments: Any, **options: Any) -> list[Any]:
        if host != "application.test":
            return await real(host, *arguments, **options)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", free_port)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    gate = await start_gate(f"http://application.test:{port}")
    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    assert (await gate.request(PREFIX + "/x")).endswith(b"\r\n\r\nimage")


@pytest.mark.every_loop
async def test_a_stall_of_the_event_loop_is_not_a_timeout_of_the_upstream(
    start_gate: GateFactory, faulty: FaultyUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty.keep_responding(IMAGE_RESPONSE)

    async def dial_during_a_stall(host: str, port: int) -> socket.socket:
        asyncio.get_running_loop().call_soon(time.sleep, 1.0)
        return await dial(host, port)

    monkeypatch.setattr(pool, "dial", dial_during_a_stall)
    gate = await start_gate(faulty.url, upstream_connect_timeout=0.5)
    assert (await gate.request(PREFIX + "/x")).endswith(b"\r\n\r\nimage")

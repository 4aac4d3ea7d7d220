"""Methods, versions, expectations and forms of the target that the server accepts or refuses."""

import asyncio

import pytest

from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, GateFactory, RunningGate
from tests.kit.raw_requests import AUTH, HOST, raw_request


@pytest.mark.parametrize("method", ["BREW", "version-Control", "get", "X!#$%&'*+.^_`|~9", "GETS"])
async def test_any_method_token_passes_as_it_is_spelled(
    start_gate: GateFactory, faulty: FaultyUpstream, method: str
) -> None:
    async def script(wire: Wire) -> None:
        assert await wire.reader.readexactly(2) == b"ok"
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nhi")

    faulty.script = script
    gate = await start_gate(faulty.url)
    response = await gate.request(PREFIX + "/x", "Content-Length: 2", method=method, body=b"ok")
    assert response.endswith(b"hi")
    assert faulty.heads[0].startswith(f"{method} /x HTTP/1.1\r\n".encode())


async def test_an_unknown_method_may_come_byte_by_byte_and_between_others(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    async def script(wire: Wire) -> None:
        while True:
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nhi")
            faulty.heads.append(await wire.read_head())

    faulty.script = script
    gate = await start_gate(faulty.url)
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    methods = ["GET", "BREW", "GETS", "POST"]
    async with asyncio.timeout(10):
        for method in methods:
            for byte in f"{method} {PREFIX}/x HTTP/1.1\r\n{HOST}\r\n{AUTH}\r\n\r\n".encode():
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(0)
            await reader.readuntil(b"\r\n\r\nhi")
    assert [head.split()[0].decode() for head in faulty.heads] == methods
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("method", ["B(EW", "B\xe9EW", "A" * 65, ""])
async def test_an_invalid_method_token_is_rejected(proxy_gate: RunningGate, method: str) -> None:
    response = await proxy_gate.raw(
        raw_request(f"{method} {PREFIX}/x HTTP/1.1", HOST, AUTH), timeout=3
    )
    assert response[8:12] == b" 400"


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
async def test_trace_and_connect_are_405_with_allow(proxy_gate: RunningGate, method: str) -> None:
    target = f"{PREFIX}/" if method == "TRACE" else "gate.example:443"
    response = await proxy_gate.raw(
        raw_request(f"{method} {target} HTTP/1.1", HOST, AUTH), timeout=3
    )
    assert response.startswith(b"HTTP/1.1 405")
    assert b"\r\nAllow: GET, HEAD" in response


@pytest.mark.parametrize("target", [PREFIX + "/x", "/gate-page", "/nowhere"])
@pytest.mark.parametrize("expected", ["200-maybe", "\udcff\udcfe"])
async def test_another_expectation_than_100_continue_is_417(
    proxy_gate: RunningGate, target: str, expected: str
) -> None:
    response = await proxy_gate.request(target, f"Expect: {expected}")
    assert response.startswith(b"HTTP/1.1 417")
    assert b'"code": "expectation_failed"' in response


async def test_an_absolute_target_for_this_host_is_the_same_as_its_path(
    proxy_gate: RunningGate,
) -> None:
    raw = raw_request(f"GET http://gate.example{PREFIX}/a?b HTTP/1.1", HOST, AUTH)
    response = await proxy_gate.raw(raw)
    assert b'"target": "/a?b"' in response


async def test_http_10_works_without_chunks_and_without_keep_alive(proxy_gate: RunningGate) -> None:
    raw = f"GET {PREFIX}/stream?n=2 HTTP/1.0\r\n{AUTH}\r\n\r\n".encode()
    response = await proxy_gate.raw(raw)
    assert response.endswith(b"\r\n\r\npiece 0\npiece 1\n")
    assert b"Transfer-Encoding" not in response

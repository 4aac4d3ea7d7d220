"""Slow, incomplete and malformed request heads and contents: the connection ends in time."""

import asyncio
import time

import pytest

from tests.kit.proxy_gates import PREFIX, GateFactory, RunningGate
from tests.kit.raw_requests import HOST
from zenzefi.http import request_handler


async def test_a_head_that_trickles_in_is_cut_off(
    proxy_gate: RunningGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_handler, "HEAD_SECONDS", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy_gate.port)
    writer.write(f"GET {PREFIX}/ HTTP/1.1\r\n".encode())
    began = time.monotonic()
    response = b""
    async with asyncio.timeout(5):
        while not response:
            writer.write(b"X-A: b\r\n")
            try:
                async with asyncio.timeout(0.05):
                    response = await reader.read(1000)
            except TimeoutError:
                continue
    assert response.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - began < 3
    writer.transport.abort()
    await asyncio.sleep(0)


async def test_content_that_stops_is_cut_off(start_gate: GateFactory, echo_url: str) -> None:
    gate = await start_gate(echo_url, upstream_read_timeout=0.3)
    response = await gate.request(
        PREFIX + "/count", "Content-Length: 100", method="POST", body=b"only this", timeout=3
    )
    assert response.startswith(b"HTTP/1.1 408")


async def test_content_with_broken_chunks_is_400_or_cut_off(proxy_gate: RunningGate) -> None:
    response = await proxy_gate.request(
        PREFIX + "/count",
        "Transfer-Encoding: chunked",
        method="POST",
        body=b"5\r\nhello!!\r\n0\r\n\r\n",
    )
    assert response[8:12] == b" 400"


async def test_broken_chunks_to_the_gate_itself_are_the_clients_mistake(
    proxy_gate: RunningGate, caplog: pytest.LogCaptureFixture
) -> None:
    head = f"POST {PREFIX}/authenticate HTTP/1.1\r\n{HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy_gate.port)
    writer.write(head.encode() + b"2\r\n{}\r\n")
    await asyncio.sleep(0.1)
    writer.write(b"zz\r\n")
    async with asyncio.timeout(5):
        response = await reader.read()
    assert response.startswith(b"HTTP/1.1 400")
    assert b'"ambiguous_request"' in response
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    writer.transport.abort()
    await asyncio.sleep(0)


async def test_a_client_that_disconnects_within_its_content_causes_no_traceback(
    proxy_gate: RunningGate, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", proxy_gate.port)
    head = f"POST {PREFIX}/authenticate HTTP/1.1\r\n{HOST}\r\nContent-Length: 20\r\n\r\n"
    writer.write(head.encode())
    await asyncio.sleep(0.1)
    writer.transport.abort()
    await asyncio.sleep(0.2)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]

"""Expect: 100-continue (RFC 9110, 10.1.1): content is requested after the checks, and once."""

import asyncio
import json

import pytest

from tests.kit.faulty_upstream import FaultyUpstream
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate, body_of


async def test_100_continue_is_sent_after_the_checks(gate: RunningGate) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(
        f"POST {PREFIX}/x HTTP/1.1\r\nHost: h\r\nX-Access-Token: {TOKEN}\r\n"
        "Expect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n".encode()
    )
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        response = await reader.read()
    assert json.loads(body_of(response))["body"] == "body"
    writer.close()
    refused = await gate.request(
        PREFIX + "/x",
        "Expect: 100-continue",
        "Content-Length: 4",
        method="POST",
        token="no",
        timeout=0.5,
    )
    assert refused.startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("host", ["app.gate.test", "h"])
async def test_no_100_continue_is_sent_before_the_checks(
    start_gate: GateFactory, upstream: str, host: str
) -> None:
    """Also at a separate origin, for the gate's own paths and for unknown ones."""
    gate = await start_gate(upstream, proxy_host="app.gate.test")
    for target in ("/made/up", "/gate-page", f"{PREFIX}/x"):
        response = await gate.raw(
            f"POST {target} HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\n"
            "Content-Length: 4\r\nConnection: close\r\n\r\n".encode(),
            timeout=3,
        )
        assert response.startswith(b"HTTP/1.1 4"), (target, response)


async def test_100_continue_is_sent_once_at_the_separate_origin(
    start_gate: GateFactory, upstream: str
) -> None:
    gate = await start_gate(upstream, proxy_host="app.gate.test")
    head = (
        f"POST /x HTTP/1.1\r\nHost: app.gate.test\r\nX-Access-Token: {TOKEN}\r\n"
        "Expect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(head.encode())
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        response = await reader.read()
    assert response.startswith(b"HTTP/1.1 200")
    assert json.loads(body_of(response))["body"] == "body"
    writer.close()


async def test_the_gates_own_api_sends_100_continue_when_it_reads(gate: RunningGate) -> None:
    body = json.dumps({"token": TOKEN})
    head = (
        f"POST {PREFIX}/authenticate HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(head.encode())
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body.encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_final_response_takes_the_place_of_the_invitation(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    """RFC 9110, 10.1.1: the upstream refuses at the head, so no content is asked for."""
    faulty.always(b"HTTP/1.1 401 No\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nno")
    gate = await start_gate(faulty.url)
    lines = ("Content-Length: 4", "Expect: 100-continue")
    got = await gate.request(PREFIX + "/x", *lines, method="POST")
    assert got.startswith(b"HTTP/1.1 401 ")
    assert got.endswith(b"\r\n\r\nno")
    assert b"100 Continue" not in got
